#!/usr/bin/env perl
# Split a file of lines into near-equal, contiguous parts.
use strict;
use warnings;

my $USAGE = <<'END';
Usage: split_scp.pl FILE OUT1 OUT2 ...
 e.g.: split_scp.pl data/test/wav.scp log/keys.1.scp log/keys.2.scp

Splits the lines of FILE (-: stdin), in their order, into as many parts as there are outputs; if the parts cannot be
equal, the first ones have one more line. More parts than lines is an error, and nothing is written.
END

sub fail {
    print STDERR "split_scp.pl: error: $_[0]\n";
    exit 1;
}

if (@ARGV && $ARGV[0] =~ /^(-h|--help)$/) {
    print $USAGE;
    exit 0;
}
@ARGV && $ARGV[0] =~ /^-./ and fail("unknown option $ARGV[0] (--help)");
@ARGV >= 2 or fail('FILE and at least one output are needed (--help)');
my ($file, @outputs) = @ARGV;
my %seen;
$seen{$_}++ and fail("output '$_' is named twice") for @outputs;

my $in = \*STDIN;
$file eq '-' or open $in, '<', $file or fail("cannot read '$file': $!");
my @lines = <$in>;
my ($have, $want) = (scalar @lines, scalar @outputs);
$have > 0 or fail("'$file' is empty");
$have >= $want or fail("'$file' has $have lines, too few for $want parts: ask for at most $have (--nj)");
$lines[-1] .= "\n" if $lines[-1] !~ /\n\z/;

my $least = int(@lines / @outputs);
my $longer = @lines % @outputs;    # number of parts with one more line
for my $part (0 .. $#outputs) {
    my $output = $outputs[$part];
    my @slice = splice @lines, 0, $least + ($part < $longer ? 1 : 0);
    open my $out, '>', "$output.tmp$$" or fail("cannot write '$output': $!");
    (print $out @slice) && close $out or fail("cannot write '$output': $!");
    rename "$output.tmp$$", $output or fail("cannot write '$output': $!");
}
