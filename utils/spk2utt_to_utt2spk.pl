#!/usr/bin/env perl
# "speaker utterance utterance ..." lines -> "utterance speaker" lines, sorted by utterance.
use strict;
use warnings;

my $USAGE = <<'END';
Usage: spk2utt_to_utt2spk.pl [SPK2UTT] > UTT2SPK
 e.g.: spk2utt_to_utt2spk.pl data/train/spk2utt > data/train/utt2spk

Reads a file, or stdin. Utterances are written in byte order.
END

sub fail {
    print STDERR "spk2utt_to_utt2spk.pl: error: $_[0]\n";
    exit 1;
}

if (@ARGV && $ARGV[0] =~ /^(-h|--help)$/) {
    print $USAGE;
    exit 0;
}
@ARGV <= 1 or fail('one file at most (--help)');
my $file = @ARGV ? $ARGV[0] : '-';
my $in = \*STDIN;
$file eq '-' or open $in, '<', $file or fail("cannot read '$file': $!");

my %speaker;
while (my $line = <$in>) {
    $line =~ s/^\xEF\xBB\xBF// if $. == 1;    # a byte order mark
    my ($speaker, @utterances) = split ' ', $line;
    @utterances or fail("$file:$.: expected 'speaker utterance ...'");
    for my $utterance (@utterances) {
        exists $speaker{$utterance} and fail("$file:$.: $utterance: the utterance occurs twice");
        $speaker{$utterance} = $speaker;
    }
}
print "$_ $speaker{$_}\n" for sort keys %speaker;
close STDOUT or fail("cannot write: $!");
