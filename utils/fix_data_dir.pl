#!/usr/bin/env perl
# Sort, clean and intersect the files of a data directory.
use strict;
use warnings;

my $USAGE = <<'END';
Usage: fix_data_dir.sh [--utt-extra-files "FILE FILE"] [--spk-extra-files "FILE FILE"] DIR
 e.g.: utils/fix_data_dir.sh data/train

Fixes what can be fixed without knowing the corpus, in wav.scp (required), utt2spk, text, captions, feats.scp,
segments, every utt2* of DIR, and those of --utt-extra-files that are there (with segments, wav.scp has recordings, and those that none needs are dropped): a UTF-8 byte order mark, CRLF, empty lines, order of lines (byte order of ids). Drops
lines without a value, repeated lines for an id, and ids that are not in all of these files. Creates spk2utt
and emo2utt from utt2spk and utt2emo; of --spk-extra-files (and spk2gender) speakers that are left keep their lines. Prints what it dropped and why; the complete list is
DIR/.backup/dropped.tsv (id, reason), next to the original files (older ones: .1, .2, ...). Files are changed
only if something is wrong, and never if no id would remain. The values (whether audio exists, whether
captions are JSON) are checked by validate_data_dir.sh.
END

my $SHOWN = 20;    # dropped ids that are printed

sub fail {
    print STDERR "fix_data_dir.sh: error: $_[0]\n";
    exit 1;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<', $path or fail("cannot read '$path': $!");
    local $/;
    return <$in> // '';
}

sub spit {
    my ($path, $content) = @_;
    open my $out, '>', $path or fail("cannot write '$path': $!");
    (print $out $content) && close $out or fail("cannot write '$path': $!");
}

# id -> line of one file; fixes are added to @$notes, "id<TAB>reason" to @$dropped
sub read_table {
    my ($name, $content, $notes, $dropped) = @_;
    push @$notes, "$name: byte order mark removed" if $content =~ s/\A\xEF\xBB\xBF//;
    my $crlf = $content =~ s/\r+(?=\n|\z)//g;
    push @$notes, "$name: $crlf lines with CRLF" if $crlf;
    my (%line, $empty, $unsorted);
    my $previous = '';
    for my $line (split /\n/, $content) {
        my ($id, $value) = $line =~ /^[ \t]*([^ \t]+)[ \t]*(.*?)[ \t]*$/;
        if (!defined $id) {
            $empty++;
        } elsif ($value eq '') {
            push @$dropped, "$id\t$name: no value";
        } elsif (!exists $line{$id}) {
            $line{$id} = "$id $value";
            $unsorted = 1 if $previous gt $id;
            $previous = $id;
        } elsif ($line{$id} eq "$id $value") {
            push @$dropped, "$id\t$name: the same line again";
        } else {
            push @$dropped, "$id\t$name: another line for this id, the first is kept";
        }
    }
    push @$notes, "$name: $empty empty lines" if $empty;
    push @$notes, "$name: was not sorted" if $unsorted;
    return \%line;
}

# utt2spk lines -> content of spk2utt
sub invert {
    my ($lines) = @_;
    my %members;
    for my $id (sort keys %$lines) {
        my (undef, $group) = split ' ', $lines->{$id};
        push @{ $members{$group} }, $id;
    }
    return join '', map { join(' ', $_, @{ $members{$_} }) . "\n" } sort keys %members;
}

# Renames an existing DIR/.backup/NAME; NAME.1 is the oldest.
sub keep_older {
    my ($path) = @_;
    return if !-e $path;
    my $n = 1;
    $n++ while -e "$path.$n";
    rename $path, "$path.$n" or fail("cannot rename '$path': $!");
}

my %extra = (utt => [], spk => ['spk2gender']);    # files that lose the lines of others, and need not have all
while (@ARGV && $ARGV[0] =~ /^-/) {
    my $option = shift @ARGV;
    if ($option =~ /^(-h|--help)$/) {
        print $USAGE;
        exit 0;
    }
    $option =~ /^--(utt|spk)[-_]extra[-_]files(?:=(.*))?\z/s or fail("unknown option $option (--help)");
    my $files = $2 // shift @ARGV // fail("$option needs names of files");
    push @{ $extra{$1} }, split ' ', $files;
}
@ARGV == 1 && $ARGV[0] !~ /^-/ or fail('one data directory is needed (--help)');
my $dir = $ARGV[0];
-d $dir or fail("'$dir' is not a folder; check the path");
-f "$dir/wav.scp" or fail("'$dir/wav.scp' is missing; it lists the audio, and the recipe's local/data.sh creates it");

my @names = grep { -f "$dir/$_" } qw(segments wav.scp utt2spk text captions feats.scp);
opendir my $folder, $dir or fail("cannot read '$dir': $!");
push @names, sort grep { /^utt2/ && !/~$/ && $_ ne 'utt2spk' && -f "$dir/$_" } readdir $folder;

my (%before, %table, @notes, @dropped);
for my $name (@names) {
    $before{$name} = slurp("$dir/$name");
    $table{$name} = read_table($name, $before{$name}, \@notes, \@dropped);
}

sub recording_of { return (split ' ', $_[0])[1] // '' }    # of a line of segments

my $recordings;    # wav.scp where its ids are not those of the utterances
if ($table{segments}) {
    $recordings = delete $table{'wav.scp'};
    for my $id (sort keys %{ $table{segments} }) {
        next if exists $recordings->{ recording_of($table{segments}{$id}) };
        push @dropped, "$id\tsegments: its recording is not in wav.scp";
        delete $table{segments}{$id};
    }
}
my %all = map { $_ => 1 } map { keys %$_ } values %table;
my @missing;
for my $id (sort keys %all) {
    my @without = grep { $table{$_} && !exists $table{$_}{$id} } @names or next;
    push @missing, "$id\tnot in " . join(', ', @without);
    delete $all{$id};
}
if (!%all) {
    my $sizes = join ', ', map { "$_ (" . keys(%{ $table{$_} }) . ')' } grep { $table{$_} } @names;
    fail("'$dir': no id is in all of $sizes; nothing was changed");
}
push @dropped, @missing;

my %after;
if ($recordings) {
    my %used = map { recording_of($table{segments}{$_}) => 1 } keys %all;
    $after{'wav.scp'} = join '', map { "$recordings->{$_}\n" } grep { $used{$_} } sort keys %$recordings;
    push @dropped, map { "$_\twav.scp: no segment needs it" } grep { !$used{$_} } sort keys %$recordings;
}
for my $name (grep { $table{$_} } @names) {
    $after{$name} = join '', map { "$table{$name}{$_}\n" } sort keys %all;
    delete $table{$name}{$_} for grep { !$all{$_} } keys %{ $table{$name} };
}
my %left = (utt => \%all, spk => { map { (split ' ')[1] => 1 } values %{ $table{utt2spk} // {} } });
for my $kind ($table{utt2spk} ? qw(utt spk) : 'utt') {
    for my $name (grep { !exists $before{$_} && -f "$dir/$_" } @{ $extra{$kind} }) {
        $before{$name} = slurp("$dir/$name");
        my $lines = read_table($name, $before{$name}, \@notes, \@dropped);
        push @dropped, map { "$_\t$name: not in the other files" } grep { !$left{$kind}{$_} } sort keys %$lines;
        $after{$name} = join '', map { "$lines->{$_}\n" } grep { $left{$kind}{$_} } sort keys %$lines;
    }
}
$after{spk2utt} = invert($table{utt2spk}) if $table{utt2spk};
$after{emo2utt} = invert($table{utt2emo}) if $table{utt2emo};
for my $name (qw(spk2utt emo2utt)) {
    next if !exists $after{$name};
    $before{$name} = -f "$dir/$name" ? slurp("$dir/$name") : '';
    push @notes, "$name: made anew" if $before{$name} ne $after{$name};
}

my @changed = grep { $before{$_} ne $after{$_} } sort keys %after;
my $kept = keys %all;
if (!@changed) {
    print "fix_data_dir.sh: $dir: nothing to fix, $kept utterances\n";
    exit 0;
}
-d "$dir/.backup" or mkdir "$dir/.backup" or fail("cannot make folder '$dir/.backup': $!");
spit("$dir/.backup/$_.new", $after{$_}) for @changed;    # all are complete before the first one is replaced
for my $name (@changed) {
    next if !-e "$dir/$name";
    keep_older("$dir/.backup/$name");
    spit("$dir/.backup/$name", $before{$name});
}
keep_older("$dir/.backup/dropped.tsv");
spit("$dir/.backup/dropped.tsv", join '', map { "$_\n" } @dropped);
for my $name (@changed) {
    rename "$dir/.backup/$name.new", "$dir/$name" or fail("cannot write '$dir/$name': $!");
}

print "fix_data_dir.sh: $dir: $kept utterances kept, ", scalar(@missing), ' dropped, ', @dropped - @missing,
    " bad or repeated lines; the original files are in $dir/.backup\n";
print "  $_\n" for @notes;
print "  ", s/\t/: /r, "\n" for @dropped[0 .. ($#dropped < $SHOWN ? $#dropped : $SHOWN - 1)];
print '  ... and ', @dropped - $SHOWN, " more in $dir/.backup/dropped.tsv\n" if @dropped > $SHOWN;
