#!/usr/bin/env perl
# Keep the lines whose id is in a list.
use strict;
use warnings;

my $USAGE = <<'END';
Usage: filter_scp.pl [--exclude] [-f N] IDS [FILE] > OUT
 e.g.: filter_scp.pl data/test/wav.scp data/all/captions > data/test/captions

Prints the lines of FILE (or stdin) whose first field is the first field of a line of IDS, unchanged and in their
order. --exclude prints the other lines. -f N compares the N-th field of the lines of FILE instead of the first.
END

sub fail {
    print STDERR "filter_scp.pl: error: $_[0]\n";
    exit 1;
}

my ($exclude, $field) = (0, 1);
while (@ARGV && $ARGV[0] =~ /^-./) {
    my $option = shift @ARGV;
    if ($option eq '-h' or $option eq '--help') {
        print $USAGE;
        exit 0;
    } elsif ($option eq '--exclude') {
        $exclude = 1;
    } elsif ($option eq '-f') {
        $field = shift @ARGV;
        defined $field && $field =~ /^[1-9]\d*$/a or fail('-f needs a number >= 1');
    } else {
        fail("unknown option $option (--help)");
    }
}
@ARGV == 1 || @ARGV == 2 or fail('IDS and at most one FILE are needed (--help)');
my ($ids_file, $file) = @ARGV;
$file //= '-';

my %wanted;
open my $ids, '<', $ids_file or fail("cannot read '$ids_file': $!");
while (my $line = <$ids>) {
    $line =~ s/^\xEF\xBB\xBF// if $. == 1;    # a byte order mark
    my ($id) = split ' ', $line, 2;
    defined $id or fail("$ids_file:$.: empty line");
    $wanted{$id} = 1;
}

my $in = \*STDIN;
$file eq '-' or open $in, '<', $file or fail("cannot read '$file': $!");
while (my $line = <$in>) {
    $. == 1 && $line =~ /^\xEF\xBB\xBF/ and fail("$file:1: begins with a byte order mark (fix_data_dir.sh removes it)");
    my @fields = split ' ', $line;
    @fields >= $field or fail("$file:$.: fewer than $field fields");
    $line .= "\n" if $line !~ /\n\z/;
    print $line if exists $wanted{ $fields[$field - 1] } xor $exclude;
}
close STDOUT or fail("cannot write: $!");
