#!/usr/bin/env perl
# "utterance speaker" lines -> "speaker utterance utterance ..." lines, sorted by speaker.
use strict;
use warnings;

my $USAGE = <<'END';
Usage: utt2spk_to_spk2utt.pl [UTT2SPK] > SPK2UTT
 e.g.: utt2spk_to_spk2utt.pl data/train/utt2emo > data/train/emo2utt

Reads a file, or stdin. Speakers are written in byte order, their utterances in the order of the input.
END

sub fail {
    print STDERR "utt2spk_to_spk2utt.pl: error: $_[0]\n";
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

my (%utterances, %seen);
while (my $line = <$in>) {
    $line =~ s/^\xEF\xBB\xBF// if $. == 1;    # a byte order mark
    my ($utterance, $speaker, @more) = split ' ', $line;
    defined $speaker && !@more or fail("$file:$.: expected two fields, 'utterance speaker'");
    $seen{$utterance}++ and fail("$file:$.: $utterance: the utterance occurs twice (fix_data_dir.sh drops one)");
    push @{ $utterances{$speaker} }, $utterance;
}
print join(' ', $_, @{ $utterances{$_} }), "\n" for sort keys %utterances;
close STDOUT or fail("cannot write: $!");
