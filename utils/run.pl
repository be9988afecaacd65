#!/usr/bin/env perl
# Run one command, or an array of them in parallel, on this machine.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use POSIX qw(:signal_h :sys_wait_h);

my $USAGE = <<'END';
Usage: run.pl [options] [NAME=n | NAME=a:b] [options] LOG COMMAND ARGS...
 e.g.: run.pl JOB=1:4 exp/log/decode.JOB.log python3 decode.py --job JOB --nj 4

Runs COMMAND once, or once for each number from a to b, several at a time, with its output in LOG.
NAME is any identifier; wherever it stands as a whole word (letters, digits and _ belong to a word) in
LOG and COMMAND, it becomes the number. All jobs run to their end. Exit status 0: all went well; 1: some
failed: how many, where the log is, and the last lines of the first one's log go to stderr. INT, TERM and
HUP end the jobs with all that they started.

Options (each takes one value; - and _ mean the same in their names):
  --max_jobs_run N   at most N jobs at a time (default: the number of CPUs)
  --gpu N            N GPUs for each job, in its CUDA_VISIBLE_DEVICES; as many jobs at a time as there are
                     GPUs for. They come from CUDA_VISIBLE_DEVICES, or else from nvidia-smi.
  --num_threads N    sets OMP_NUM_THREADS=N in the jobs
  --num_nodes 1      more than one node is an error here
  others (--mem, --time, --name, ...) are for clusters: accepted, without effect

How COMMAND reaches the shell (bash -o pipefail). An argument goes in as it is, to be read by the shell, if it is
  * a plain word: letters, digits, . _ / : = , + @ % ^ ~ - ! * ? [ ] and characters beyond ASCII,
    with $VAR and ${VAR} in it, which the job expands; one ; may end it; or
  * an operator: | || && |& ; & ( ) or a redirection such as > >> < 2>&1 >FILE 2>>FILE &>FILE
Every other argument (with white space, quotes, backslashes, `...`, $(...), braces, ...) is quoted, so that the
program gets it to the letter. So run.pl log sh -c 'echo "$HOME"' runs sh with just those two arguments.
The command reads nothing from stdin.
END

my $GRACE_S = 5;    # between TERM and KILL

sub fail {
    my ($message) = @_;
    $message =~ s/\n/ /g;
    print STDERR "run.pl: error: $message\n";
    exit 1;
}

# ---- the command line

sub whole_number {
    my ($option, $value, $least) = @_;
    $value =~ /^\d+$/a && $value >= $least
        or fail("--$option must be a whole number >= $least, not '$value'");
    return int $value;
}

# -> (options, name or undef, first, last, log pattern, command words)
sub parse_command_line {
    my @args = @_;
    my %opt = (gpu => 0, num_threads => undef, num_nodes => 1, max_jobs_run => undef);
    my %least = (gpu => 0, num_threads => 1, num_nodes => 1, max_jobs_run => 1);
    my ($name, $first, $last) = (undef, 1, 1);
    while (@args) {
        if ($args[0] eq '--help' or $args[0] eq '-h') {
            print $USAGE;
            exit 0;
        } elsif ($args[0] =~ /^-/) {
            my $option = shift @args;
            $option =~ /^--([A-Za-z][\w-]*)$/a or fail("option '$option': write --name VALUE");
            (my $key = $1) =~ tr/-/_/;
            @args && $args[0] !~ /^--/ or fail("option $option needs a value");
            my $value = shift @args;
            $opt{$key} = exists $least{$key} ? whole_number($key, $value, $least{$key}) : $value;
        } elsif ($args[0] =~ /^([A-Za-z_]\w*)=(.*)$/as) {
            my ($key, $range) = ($1, $2);
            defined $name and fail("two job ranges, '$name=' and '$args[0]'");
            $range =~ /^(\d+)(?::(\d+))?$/a
                or fail("'$args[0]' is no job range: NAME=n or NAME=a:b (a LOG that begins so: ./$args[0])");
            ($name, $first, $last) = ($key, int $1, int($2 // $1));
            $first >= 1 && $first <= $last or fail("job range '$args[0]': must be 1 <= first <= last");
            shift @args;
        } else {
            last;
        }
    }
    @args >= 2 or fail("LOG and COMMAND are needed (run.pl --help)");
    $opt{num_nodes} == 1 or fail("--num_nodes $opt{num_nodes}: this wrapper runs on one machine (slurm.pl has nodes)");
    my $log = shift @args;
    if ($last > $first && put_number($log, $name, 1) eq $log) {
        fail("log '$log' must hold $name as a whole word, for each job needs its own (e.g. x.$name.log)");
    }
    return (\%opt, $name, $first, $last, $log, @args);
}

# $number for $name where it is a whole word of $text
sub put_number {
    my ($text, $name, $number) = @_;
    $text =~ s/(?<!\w)\Q$name\E(?!\w)/$number/ga if defined $name;
    return $text;
}

# One argument, as it goes to the shell: see the usage message.
sub shell_word {
    my ($word) = @_;
    my $char = '(?:[\w./:=,+@%^~!*?\[\]\x80-\xff-]|\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\})';
    return $word if $word =~ /\A$char+;?\z/a;
    return $word if $word =~ /\A(?:\|\|?|\|&|&&?|;|\(|\))\z/;
    return $word if $word =~ /\A(?:\d*(?:>>?|>\||<|<>)|&>>?)(?:$char*|&\d+|&-)\z/a;
    $word =~ s/'/'\\''/g;
    return "'$word'";
}

# ---- what the machine has

sub cpu_count {
    delete local @ENV{qw(OMP_NUM_THREADS OMP_THREAD_LIMIT)};    # nproc would believe them
    for my $command ('nproc', 'getconf _NPROCESSORS_ONLN') {
        my $n = `$command 2>/dev/null`;
        return int $1 if defined $n && $n =~ /^(\d+)$/ && $1 > 0;
    }
    return 1;
}

# names for CUDA_VISIBLE_DEVICES
sub gpu_names {
    return grep { length } split /\s*,\s*/, $ENV{CUDA_VISIBLE_DEVICES} if defined $ENV{CUDA_VISIBLE_DEVICES};
    my @gpus;
    for (split /\n/, `nvidia-smi -L 2>/dev/null` // '') {
        push @gpus, [$1] if /^GPU (\d+):/;
        push @{ $gpus[-1] }, $1 if @gpus && /^\s+MIG .*UUID: (MIG-[^)\s]+)\)/;    # slices of the GPU above
    }
    return map { @$_ > 1 ? @$_[1 .. $#$_] : $$_[0] } @gpus;
}

# ---- jobs

my ($opt, $name, $first, $last, $log_pattern, @command) = parse_command_line(@ARGV);
my @gpus = $opt->{gpu} ? gpu_names() : ();
my $slots = $opt->{max_jobs_run} // ($opt->{gpu} ? @gpus : cpu_count());
if ($opt->{gpu}) {
    my $seen = @gpus;
    $seen >= $opt->{gpu} or fail("--gpu $opt->{gpu}, but $seen GPUs are seen (nvidia-smi -L, CUDA_VISIBLE_DEVICES)");
    my $fit = int($seen / $opt->{gpu});
    $slots = $fit if $slots > $fit;
}
my %running;    # process id -> {number, log, start, gpus}
my @failed;     # logs, in the order of failing
my %failed_number;

sub now_text { return POSIX::strftime('%a %b %e %H:%M:%S %Z %Y', localtime) }

sub make_log_folder {
    my ($log) = @_;
    my $folder = dirname($log);
    return if -d $folder;
    make_path($folder, { error => \my $errors });
    -d $folder or fail("cannot make folder '$folder' for the log: " . join(', ', map { values %$_ } @$errors));
}

sub note_failure {
    my ($job) = @_;
    push @failed, $job->{log};
    $failed_number{ $job->{number} } = 1;
}

sub start_job {
    my ($number) = @_;
    my $job = { number => $number, log => put_number($log_pattern, $name, $number), start => time };
    my $line = join ' ', map { shell_word(put_number($_, $name, $number)) } @command;
    my $out;
    if (!open $out, '>', $job->{log}) {
        print STDERR "run.pl: error: cannot write log '$job->{log}': $!\n";
        return note_failure($job);
    }
    (my $comment = $line) =~ s/\n/\n# /g;
    print $out "# $comment\n# Started at ", now_text(), "\n#\n";
    close $out;
    $job->{gpus} = [splice @gpus, 0, $opt->{gpu}];
    my $pid = fork;
    if (!defined $pid) {
        print STDERR "run.pl: error: cannot start a process for '$job->{log}': $!\n";
        push @gpus, @{ $job->{gpus} };
        return note_failure($job);
    }
    if ($pid == 0) {
        POSIX::setpgid(0, 0);
        $SIG{$_} = 'DEFAULT' for qw(INT TERM CHLD);
        POSIX::sigprocmask(SIG_SETMASK, POSIX::SigSet->new);
        $ENV{CUDA_VISIBLE_DEVICES} = join ',', @{ $job->{gpus} } if $opt->{gpu};
        $ENV{OMP_NUM_THREADS} = $opt->{num_threads} if defined $opt->{num_threads};
        open STDIN, '<', '/dev/null' or POSIX::_exit(126);
        open STDOUT, '>>', $job->{log} or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(126);
        no warnings 'exec';
        exec 'bash', '-o', 'pipefail', '-c', $line;
        syswrite STDERR, "run.pl: cannot start bash: $!\n";
        POSIX::_exit(127);
    }
    POSIX::setpgid($pid, $pid);    # here and there: whoever comes first
    $running{$pid} = $job;
}

sub end_job {
    my ($pid, $status) = @_;
    my $job = delete $running{$pid} or return;
    push @gpus, @{ $job->{gpus} };
    my $code = $status & 127 ? 128 + ($status & 127) : $status >> 8;
    my $signal = $code > 128 && $code < 160 ? '; signal ' . ($code - 128) : '';    # as shells tell it
    my $seconds = time - $job->{start};
    if (open my $out, '>>', $job->{log}) {
        print $out "# Accounting: time=$seconds threads=", $opt->{num_threads} // 1, "\n",
            "# Ended (code $code$signal) at ", now_text(), ", elapsed time $seconds seconds\n";
        close $out;
    }
    note_failure($job) if $code != 0;
}

sub reap {
    while ((my $pid = waitpid(-1, WNOHANG)) > 0) { end_job($pid, $?) }
}

# TERM to all process groups, and KILL to those that do not heed it
sub stop_jobs {
    my @groups = keys %running;
    kill 'TERM', map { -$_ } @groups;
    for (1 .. $GRACE_S * 20) {
        reap();
        @groups = grep { kill 0, -$_ } @groups or last;
        select undef, undef, undef, 0.05;
    }
    kill 'KILL', map { -$_ } @groups;
    for (1 .. 40) {
        reap();
        last if !%running;
        select undef, undef, undef, 0.05;
    }
}

# the end of a log without our own lines, for the reader's eye
sub log_tail {
    my ($log) = @_;
    open my $in, '<', $log or return ();
    seek $in, -4000, 2 if -s $in > 4000;
    my @lines = grep { !/^#/ && /\S/ } <$in>;
    splice @lines, 0, @lines - 5 if @lines > 5;
    chomp @lines;
    return @lines;
}

make_log_folder(put_number($log_pattern, $name, $_)) for $first .. $last;

# Signals come only while sigsuspend waits: none is missed, and nothing is polled.
my $stop;
$SIG{CHLD} = sub { };
for my $signal (qw(INT TERM HUP)) {
    next if $signal eq 'HUP' && ($SIG{HUP} // '') eq 'IGNORE';    # nohup
    $SIG{$signal} = sub { $stop //= $_[0] };
}
POSIX::sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGINT, SIGTERM, SIGHUP, SIGCHLD));
my @todo = ($first .. $last);
while (1) {
    reap();
    start_job(shift @todo) while @todo && keys %running < $slots;
    last if !%running && !@todo;
    POSIX::sigsuspend(POSIX::SigSet->new) if %running;
    last if $stop;
}
if ($stop) {
    my $count = keys %running;
    stop_jobs();
    print STDERR "run.pl: stopped by SIG$stop, $count running jobs ended, log is in ",
        put_number($log_pattern, $name, '*'), "\n";
    $SIG{$stop} = 'DEFAULT';
    POSIX::sigprocmask(SIG_SETMASK, POSIX::SigSet->new);
    kill $stop, $$;    # so that the caller sees the signal, too
    exit 1;
}
if (@failed) {
    my $log = $last > $first ? put_number($log_pattern, $name, '*') : $failed[0];
    my $which = $last > $first ? " ($name: " . join(' ', sort { $a <=> $b } keys %failed_number) . ')' : '';
    print STDERR 'run.pl: ', scalar(@failed), ' / ', $last - $first + 1, " failed, log is in $log$which\n";
    print STDERR map { "$failed[0]: $_\n" } log_tail($failed[0]);
    exit 1;
}
