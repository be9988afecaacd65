# Functions shared by run.pl and slurm.pl, which load them with require.
use strict;
use warnings;
use File::Basename qw(basename dirname);
use File::Path qw(make_path);
use POSIX ();

# (summary, options) -> usage message
sub usage {
    my ($summary, $options) = @_;
    my $text = <<'HEAD' . $summary . <<'NAME' . $options . <<'QUOTING';
Usage: WRAPPER [options] [NAME=n | NAME=a:b] [options] LOG COMMAND ARGS...
 e.g.: WRAPPER JOB=1:4 exp/log/decode.JOB.log python3 decode.py --job JOB --nj 4

HEAD
NAME is any identifier; wherever it is a whole word (of letters, digits and _) in LOG and COMMAND, it is
replaced by the number. All jobs run to their end. Exit status 0: all succeeded; 1: some failed: their
number, the path of the log and the last lines of the first failed job's log are printed on stderr.

Options (each takes one value; - and _ are equivalent in their names):
NAME

How COMMAND is passed to the shell (bash -o pipefail). An argument is passed unquoted, for the shell to interpret, if it is
  * a plain word: letters, digits, . _ / : = , + @ % ^ ~ - ! * ? [ ] and characters beyond ASCII,
    possibly with $VAR and ${VAR}, which the job expands, and one ; at its end; or
  * an operator: | || && |& ; & ( ) or a redirection such as > >> < 2>&1 >FILE 2>>FILE &>FILE
Every other argument (with white space, quotes, backslashes, `...`, $(...), braces, ...) is quoted, so that the
program receives it literally: WRAPPER log sh -c 'echo "$HOME"' runs sh with exactly these two arguments.
The standard input of the command is empty.
QUOTING
    my $wrapper = basename($0);
    $text =~ s/WRAPPER/$wrapper/g;
    return $text;
}

sub say_error { print STDERR basename($0), ': ', @_, "\n" }

sub fail {
    my ($message) = @_;
    $message =~ s/\s*\n\s*/ /g;
    say_error("error: $message");
    exit 1;
}

sub now_text { return POSIX::strftime('%a %b %e %H:%M:%S %Z %Y', localtime) }

# ---- the command line

sub whole_number {
    my ($option, $value, $least) = @_;
    $value =~ /^\d+$/a && $value >= $least
        or fail("--$option must be a whole number >= $least, not '$value'");
    return int $value;
}

# (usage message, {option that takes a whole number => its least value}, arguments)
# -> (options given, name or undef, first, last, log pattern, command words)
sub parse_command_line {
    my ($usage, $least, @args) = @_;
    my (%opt, $name);
    my ($first, $last) = (1, 1);
    while (@args) {
        if ($args[0] eq '--help' or $args[0] eq '-h') {
            print $usage;
            exit 0;
        } elsif ($args[0] =~ /^-/) {
            my $option = shift @args;
            $option =~ /^--([A-Za-z][\w-]*)$/a or fail("option '$option': write --name VALUE");
            (my $key = $1) =~ tr/-/_/;
            @args && $args[0] !~ /^--/ or fail("option $option needs a value");
            my $value = shift @args;
            $opt{$key} = exists $least->{$key} ? whole_number($key, $value, $least->{$key}) : $value;
        } elsif ($args[0] =~ /^([A-Za-z_]\w*)=(.*)$/as) {
            my ($key, $range) = ($1, $2);
            defined $name and fail("two job ranges, '$name=' and '$args[0]'");
            $range =~ /^(\d+)(?::(\d+))?$/a
                or fail("'$args[0]' is not a job range: write NAME=n or NAME=a:b (or ./$args[0] if it is the LOG)");
            ($name, $first, $last) = ($key, int $1, int($2 // $1));
            $first >= 1 && $first <= $last or fail("job range '$args[0]': must be 1 <= first <= last");
            shift @args;
        } else {
            last;
        }
    }
    @args >= 2 or fail('LOG and COMMAND are needed (' . basename($0) . ' --help)');
    my $log = shift @args;
    if ($last > $first && put_number($log, $name, 1) eq $log) {
        fail("log '$log' must contain $name as a whole word, since each job needs its own log (e.g. x.$name.log)");
    }
    return (\%opt, $name, $first, $last, $log, @args);
}

# $number for $name where it is a whole word of $text
sub put_number {
    my ($text, $name, $number) = @_;
    $text =~ s/(?<!\w)\Q$name\E(?!\w)/$number/ga if defined $name;
    return $text;
}

# ---- the shell

# 'TEXT', quoted for the shell
sub shell_quote {
    my ($text) = @_;
    $text =~ s/'/'\\''/g;
    return "'$text'";
}

# One argument as passed to the shell; the rules are in usage.
sub shell_word {
    my ($word) = @_;
    my $char = '(?:[\w./:=,+@%^~!*?\[\]\x80-\xff-]|\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\})';
    return $word if $word =~ /\A$char+;?\z/a;
    return $word if $word =~ /\A(?:\|\|?|\|&|&&?|;|\(|\))\z/;
    return $word if $word =~ /\A(?:\d*(?:>>?|>\||<|<>)|&>>?)(?:$char*|&\d+|&-)\z/a;
    return shell_quote($word);
}

# the command of one job
sub shell_line {
    my ($name, $number, @command) = @_;
    return join ' ', map { shell_word(put_number($_, $name, $number)) } @command;
}

# ---- logs

# -> folders made
sub make_folder {
    my ($folder) = @_;
    return () if -d $folder;
    my @made = make_path($folder, { error => \my $errors });
    -d $folder or fail("cannot make folder '$folder' for the log: " . join(', ', map { values %$_ } @$errors));
    return @made;
}

# the last lines of a log, without the comment lines of the wrapper
sub log_tail {
    my ($log) = @_;
    open my $in, '<', $log or return ();
    seek $in, -4000, 2 if -s $in > 4000;
    my @lines = grep { !/^#/ && /\S/ } <$in>;
    splice @lines, 0, @lines - 5 if @lines > 5;
    chomp @lines;
    return @lines;
}

# To stderr: number of failed jobs, which ones (job number => reason), and the end of the first one's log.
sub report_failures {
    my ($name, $first, $last, $log_pattern, $first_failed, %failed) = @_;
    my $one = put_number($log_pattern, $name, $first_failed);
    my $log = $last > $first ? put_number($log_pattern, $name, '*') : $one;
    my @which = map { join ' ', ($last > $first ? $_ : ()), $failed{$_} || () } sort { $a <=> $b } keys %failed;
    my $which = join $failed{$first_failed} eq '' ? ' ' : '; ', @which;
    $which = "$name: $which" if $last > $first;
    say_error(scalar(keys %failed), ' / ', $last - $first + 1, " failed, log is in $log", $which eq '' ? '' : " ($which)");
    print STDERR map { "$one: $_\n" } log_tail($one);
}

# ---- the process that started the jobs

# Whether process SEC_RUN_PID no longer exists: the run that started us was killed.
sub run_is_gone {
    my $pid = $ENV{SEC_RUN_PID} // return 0;
    return $pid =~ /^\d+$/a && $pid > 0 && !kill(0, $pid) && $!{ESRCH};
}

1;
