#!/usr/bin/env perl
# Run one command, or an array of them in parallel, on this machine.
use strict;
use warnings;
use FindBin;
use POSIX qw(:signal_h :sys_wait_h);
require "$FindBin::RealBin/job_common.pl";

my $USAGE = usage(<<'SUMMARY', <<'OPTIONS');
Runs COMMAND on this machine, once or once for each number from a to b, several at a time, with its output in
LOG. INT, TERM and HUP end the jobs and their child processes; so does the end of process SEC_RUN_PID, if that
is set.
SUMMARY
  --max_jobs_run N   at most N jobs at a time (default: the number of CPUs)
  --gpu N            N GPUs for each job, in its CUDA_VISIBLE_DEVICES; this limits the number of jobs at a
                     time. The GPUs are those of CUDA_VISIBLE_DEVICES, or else of nvidia-smi.
  --num_threads N    sets OMP_NUM_THREADS=N in the jobs
  --num_nodes 1      more than one node is an error
  --kill_wait S      seconds between TERM and KILL (default 30, for a training to save its state)
  others (--mem, --time, --name, ...) are for clusters: accepted without effect
OPTIONS

# ---- resources of the machine

sub cpu_count {
    delete local @ENV{qw(OMP_NUM_THREADS OMP_THREAD_LIMIT)};    # nproc would use them
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

my %LEAST = (gpu => 0, num_threads => 1, num_nodes => 1, max_jobs_run => 1, kill_wait => 0);
my ($opt, $name, $first, $last, $log_pattern, @command) = parse_command_line($USAGE, \%LEAST, @ARGV);
$opt->{gpu} //= 0;
($opt->{num_nodes} // 1) == 1
    or fail("--num_nodes $opt->{num_nodes}: run.pl uses one machine; use slurm.pl for several nodes");
my @gpus = $opt->{gpu} ? gpu_names() : ();
my $slots = $opt->{max_jobs_run} // ($opt->{gpu} ? @gpus : cpu_count());
if ($opt->{gpu}) {
    my $seen = @gpus;
    $seen >= $opt->{gpu} or fail("--gpu $opt->{gpu}, but only $seen GPUs are visible (nvidia-smi -L, CUDA_VISIBLE_DEVICES)");
    my $fit = int($seen / $opt->{gpu});
    $slots = $fit if $slots > $fit;
}
my %running;    # process id -> {number, log, start, gpus}
my @failed;     # numbers, in the order of failing

sub start_job {
    my ($number) = @_;
    my $job = { number => $number, log => put_number($log_pattern, $name, $number), start => time };
    my $line = shell_line($name, $number, @command);
    my $out;
    if (!open $out, '>', $job->{log}) {
        say_error("error: cannot write log '$job->{log}': $!");
        return push @failed, $number;
    }
    (my $comment = $line) =~ s/\n/\n# /g;
    print $out "# $comment\n# Started at ", now_text(), "\n#\n";
    close $out;
    $job->{gpus} = [splice @gpus, 0, $opt->{gpu}];
    my $pid = fork;
    if (!defined $pid) {
        say_error("error: cannot start a process for '$job->{log}': $!");
        push @gpus, @{ $job->{gpus} };
        return push @failed, $number;
    }
    if ($pid == 0) {
        POSIX::setpgid(0, 0);
        $SIG{$_} = 'DEFAULT' for qw(INT TERM CHLD ALRM);
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
    POSIX::setpgid($pid, $pid);    # in parent and child, whichever runs first
    $running{$pid} = $job;
}

sub end_job {
    my ($pid, $status) = @_;
    my $job = delete $running{$pid} or return;
    push @gpus, @{ $job->{gpus} };
    my $code = $status & 127 ? 128 + ($status & 127) : $status >> 8;
    my $signal = $code > 128 && $code < 160 ? '; signal ' . ($code - 128) : '';    # as shells report it
    my $seconds = time - $job->{start};
    if (open my $out, '>>', $job->{log}) {
        print $out "# Accounting: time=$seconds threads=", $opt->{num_threads} // 1, "\n",
            "# Ended (code $code$signal) at ", now_text(), ", elapsed time $seconds seconds\n";
        close $out;
    }
    push @failed, $job->{number} if $code != 0;
}

sub reap {
    while ((my $pid = waitpid(-1, WNOHANG)) > 0) { end_job($pid, $?) }
}

# Does any process of the group run? Zombies do not count: kill still finds them, and in a container without an init
# process they stay.
sub group_runs {
    my ($group) = @_;
    kill 0, -$group or return 0;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $in, '<', $file or next;
        my ($state, $of) = (<$in> // '') =~ /.*\) (\S) \d+ (\d+)/s or next;
        return 1 if $of == $group && $state !~ /[ZX]/;
    }
    return !-e '/proc/self/stat';
}

# TERM to all process groups, and KILL to those that still run
sub stop_jobs {
    my @groups = keys %running;
    kill 'TERM', map { -$_ } @groups;
    for (1 .. ($opt->{kill_wait} // 30) * 20) {
        reap();
        @groups = grep { group_runs($_) } @groups or last;
        select undef, undef, undef, 0.05;
    }
    kill 'KILL', map { -$_ } @groups;
    for (1 .. 40) {
        reap();
        last if !%running;
        select undef, undef, undef, 0.05;
    }
}

make_folder(dirname(put_number($log_pattern, $name, $_))) for $first .. $last;

# Signals are delivered only during sigsuspend, so that none is missed; only SEC_RUN_PID is polled.
my $stop;
$SIG{CHLD} = $SIG{ALRM} = sub { };
for my $signal (qw(INT TERM HUP)) {
    next if $signal eq 'HUP' && ($SIG{HUP} // '') eq 'IGNORE';    # nohup
    $SIG{$signal} = sub { $stop //= $_[0] };
}
POSIX::sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGALRM));
my @todo = ($first .. $last);
while (1) {
    reap();
    start_job(shift @todo) while @todo && keys %running < $slots;
    last if !%running && !@todo;
    alarm 1 if defined $ENV{SEC_RUN_PID};
    POSIX::sigsuspend(POSIX::SigSet->new) if %running;
    $stop //= 'TERM' if run_is_gone();
    last if $stop;
}
if ($stop) {
    my $count = keys %running;
    stop_jobs();
    say_error("stopped by SIG$stop, $count running jobs ended, log is in ", put_number($log_pattern, $name, '*'));
    $SIG{$stop} = 'DEFAULT';
    POSIX::sigprocmask(SIG_SETMASK, POSIX::SigSet->new);
    kill $stop, $$;    # so that the caller sees the signal, too
    exit 1;
}
if (@failed) {
    report_failures($name, $first, $last, $log_pattern, $failed[0], map { $_ => '' } @failed);
    exit 1;
}
