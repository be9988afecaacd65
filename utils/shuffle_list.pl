#!/usr/bin/env perl
# Put the lines of a file in random order.
use strict;
use warnings;

my $USAGE = <<'END';
Usage: shuffle_list.pl [--srand N] [FILE] > OUT
 e.g.: utils/shuffle_list.pl --srand 3 data/train/utt2spk | head -n 100

Prints the lines of FILE (or stdin) in random order. The same lines and the same N (default 0) give the same order.
END

sub fail {
    print STDERR "shuffle_list.pl: error: $_[0]\n";
    exit 1;
}

my $seed = 0;
while (@ARGV && $ARGV[0] =~ /^-./) {
    my $option = shift @ARGV;
    if ($option eq '-h' or $option eq '--help') {
        print $USAGE;
        exit 0;
    } elsif ($option =~ /^--srand(?:=(.*))?\z/s) {
        $seed = defined $1 ? $1 : shift @ARGV;
        defined $seed && $seed =~ /^\d{1,9}\z/a or fail('--srand needs an integer from 0 to 999999999');
    } else {
        fail("unknown option $option (--help)");
    }
}
@ARGV <= 1 or fail('at most one FILE (--help)');
my $file = @ARGV ? $ARGV[0] : '-';

my $in = \*STDIN;
$file eq '-' or open $in, '<', $file or fail("cannot read '$file': $!");
my @lines = <$in>;
$lines[-1] .= "\n" if @lines && $lines[-1] !~ /\n\z/;
srand $seed;
for (my $left = @lines; $left > 1; $left--) {    # Fisher and Yates
    my $at = int rand $left;
    @lines[ $at, $left - 1 ] = @lines[ $left - 1, $at ];
}
print @lines;
close STDOUT or fail("cannot write: $!");
