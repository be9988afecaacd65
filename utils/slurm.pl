#!/usr/bin/env perl
# Run one command, or an array of them in parallel, as jobs of Slurm.
use strict;
use warnings;
use Cwd qw(getcwd);
use File::Basename qw(basename dirname);
use FindBin;
use List::Util qw(min);
use POSIX qw(:sys_wait_h);
use Text::ParseWords qw(shellwords);
use Time::HiRes qw(sleep time);
require "$FindBin::RealBin/job_common.pl";
require "$FindBin::RealBin/slurm_script.pl";

my $USAGE = usage(<<'SUMMARY', <<'OPTIONS');
Runs COMMAND as a Slurm job, or as an array of jobs, one for each number from a to b, with its output in LOG, and waits
until all have ended. A job starts in this folder and sources ./path.sh if it exists. The batch script and Slurm's own
messages are in the folder q/ next to the log. A job that was cancelled, killed or lost, or can never start, is detected
within 15 seconds and reported with its state. INT, TERM and HUP cancel the jobs (exit status 2); so does the end of
process SEC_RUN_PID, if that is set. If this program is killed with KILL, its jobs continue; the next call with the same
LOG cancels them first.

A COMMAND that exits with status 99 has saved its state and is run again, unless somebody cancelled it; its log is then
appended to. USR1, Slurm's warning before a time limit (see the configuration), is forwarded to COMMAND. Programs without
a handler ignore it, except those started with srun, which need a handler.
SUMMARY
  --config FILE      the options of this cluster (default: conf/slurm.conf)
  --max_jobs_run N   at most N jobs of an array at a time
  --num_threads N    CPUs for each job; sets OMP_NUM_THREADS=N
  --gpu N            GPUs for each job, on each node
  --num_nodes N      nodes for each job; COMMAND runs on the first, srun within it on all
  --name, --mem, --time, ...   other options that the configuration declares
  --kill_wait S      accepted without effect: Slurm's own KillWait applies
OPTIONS

my $ENDED_S = 5;         # seconds after which a task that has ended without a status file is given up,
my $COMPLETING_S = 10;   # ... and one that is still COMPLETING
my $CANCEL_S = 10;       # seconds to wait for the end of a cancelled job
my $ODD_S = 60;          # seconds after which the reason is printed why a job does not start

# Slurm states of jobs that run or will run; all others are final
my %ALIVE = map { $_ => 1 } qw(PENDING CONFIGURING RUNNING COMPLETING SUSPENDED STOPPED SIGNALING RESIZING STAGE_OUT
    REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT RESV_DEL_HOLD);
# Reasons for PENDING: those that will never go away, and those that are normal
my $NEVER = qr/^(?:PartitionTimeLimit|PartitionNodeLimit|BadConstraints|JobHeldAdmin|DependencyNeverSatisfied|JobLaunchFailure
    |launch.failed.requeued.held|Invalid\w+|AccountNotAllowed|QOSNotAllowed|\w+(?:PerJob|PerJobLimit|MinCpuNotSatisfied))$/xi;
my $USUAL = qr/^(?:None|Resources|Priority|BeginTime|Cleaning|JobArrayTaskLimit|Prolog)$/;

# ---- the configuration

# File -> (command words, [[option, value or *, words], ...], {option => default})
sub read_config {
    my ($file) = @_;
    open my $in, '<', $file or fail("configuration '$file': $! (--config FILE selects another)");
    my (@command, @rules, %default);
    while (my $line = <$in>) {
        $line =~ s/^\xEF\xBB\xBF// if $. == 1;    # a byte order mark
        $line =~ s/(?:^|\s)#.*//s;
        next if $line !~ /\S/;
        my $bad = sub { fail("$file, line $.: $_[0]: '" . $line =~ s/^\s+|\s+$//gr . "'") };
        my ($what, @words) = shellwords($line);
        defined $what or $bad->('unbalanced quotes');
        if ($what eq 'command' && @words) {
            @command and $bad->('a second command');
            @command = @words;
        } elsif ($what eq 'option' && @words && $words[0] =~ /^([A-Za-z]\w*)=(.+)$/as) {
            push @rules, [$1, $2, @words[1 .. $#words]];
        } elsif ($what eq 'default' && @words == 1 && $words[0] =~ /^([A-Za-z]\w*)=(.+)$/as) {
            $default{$1} = $2;
        } else {
            $bad->("expected 'command WORDS', 'option NAME=VALUE [WORDS]' or 'default NAME=VALUE'");
        }
    }
    @command or fail("$file: no line 'command sbatch ...'");
    for my $name (keys %default) {
        grep { $_->[0] eq $name } @rules or fail("$file: default for '$name', but no line 'option $name=...'");
    }
    return (\@command, \@rules, \%default);
}

# -> words for sbatch
sub sbatch_options {
    my ($file, $rules, %opt) = @_;
    my @words;
    for my $name (sort keys %opt) {
        my @of_name = grep { $_->[0] eq $name } @$rules or fail("option --$name is not declared in $file");
        my ($rule) = ((grep { $_->[1] eq $opt{$name} } @of_name), grep { $_->[1] eq '*' } @of_name);
        $rule or fail("--$name $opt{$name}: $file has no line for this value");
        push @words, map { s/\$0/$opt{$name}/gr } @$rule[2 .. $#$rule];
    }
    return @words;
}

sub same_file {
    my ($one, $other) = map { join ' ', (stat)[0, 1] } @_;
    return $one ne '' && $one eq $other;
}

# ---- Slurm's programs

# Start a program with its output in anonymous files; it does not receive signals from the terminal.
sub start_program {
    my ($stdout, @command) = @_;
    open my $err, '+>', undef or fail("cannot make a temporary file: $!");
    if (!defined $stdout) { open $stdout, '+>', undef or fail("cannot make a temporary file: $!") }
    my $pid = fork // fail("cannot start $command[0]: $!");
    if ($pid == 0) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        open STDOUT, '>&', $stdout or POSIX::_exit(126);
        open STDERR, '>&', $err or POSIX::_exit(126);
        no warnings 'exec';
        exec { $command[0] } @command;
        print STDERR "cannot start $command[0]: $!\n";
        POSIX::_exit(127);
    }
    return { pid => $pid, out => $stdout, err => $err };
}

# -> true once the program has ended, with {status, out, err} then
sub program_ended {
    my ($program, $flags) = @_;
    waitpid($program->{pid}, $flags // WNOHANG) == $program->{pid} or return 0;
    $program->{status} = $?;
    for my $stream (qw(out err)) {
        seek $program->{$stream}, 0, 0;
        $program->{$stream} = do { local $/; readline $program->{$stream} } // '';
    }
    return 1;
}

sub run_program {
    my $program = start_program(@_);
    1 until program_ended($program, 0);    # a signal interrupts waitpid, not the program
    return $program;
}

my @QUEUE = ('squeue', '-h', '-r', '-t', 'all', '-o', '%i|%T|%r|%o', '-j');

# an ended squeue -> {task's id => [state, reason, script]}, or undef if Slurm did not answer
sub queue_of {
    my ($program) = @_;
    return undef if $program->{status} != 0 && $program->{err} !~ /Invalid job id/;
    return { map { /^(\d\w*)\|(\w+)\|([^|]*)\|(.*)$/ ? ($1 => [$2, $3, $4]) : () } split /\n/, $program->{out} };
}

# whether any task is alive; undef: unknown
sub job_is_alive {
    my ($id) = @_;
    my $queue = queue_of(run_program(undef, @QUEUE, $id)) // return undef;
    return scalar grep { $ALIVE{ $_->[0] } } values %$queue;
}

# ---- the call

my %LEAST = (gpu => 0, num_threads => 1, num_nodes => 1, max_jobs_run => 1, kill_wait => 0);
my ($opt, $name, $first, $last, $log_pattern, @command) = parse_command_line($USAGE, \%LEAST, @ARGV);
delete $opt->{kill_wait};
my $config = delete $opt->{config} // 'conf/slurm.conf';
my ($sbatch, $rules, $default) = read_config($config);
$opt = { %$default, %$opt };
my @sbatch = (@$sbatch, sbatch_options($config, $rules, %$opt));
my $is_array = $last > $first;

my @made = map { make_folder(dirname(put_number($log_pattern, $name, $_))) } $first .. $last;
my $log_folder = dirname(put_number($log_pattern, $name, $first));
# The path as the caller wrote it: the targets of this machine's links may not exist on the nodes.
my $here = same_file($ENV{PWD} // '', '.') ? $ENV{PWD} : getcwd();
my $q = ($log_folder =~ m{^/} ? '' : "$here/") . "$log_folder/q";
push @made, make_folder($q);
my $base = basename($is_array ? $log_pattern : put_number($log_pattern, $name, $first)) =~ s/\.log$//r;
my ($script, $id_file) = ("$q/$base.sh", "$q/$base.jobid");

my ($stop, $stops) = (undef, 0);
$SIG{CHLD} = 'DEFAULT';    # if our parent ignores it, exit statuses of programs would be lost
for my $signal (qw(INT TERM HUP)) {
    next if $signal eq 'HUP' && ($SIG{HUP} // '') eq 'IGNORE';    # nohup
    $SIG{$signal} = sub { $stop //= "SIG$_[0]"; $stops++ };
}

sub stop_asked {
    $stop //= 'the end of the run that started it' if run_is_gone();
    return defined $stop;
}

# the files of q/ that belong to this call: number => {status, out}
sub own_files {
    my %files;
    opendir my $folder, $q or return {};    # somebody removed it: squeue still reports how the jobs end
    for my $file (readdir $folder) {
        $files{$2}{$3} = "$q/$1$2.$3" if $file =~ /^(\Q$base\E\.)(\d+)\.(status|out)$/a;
    }
    return \%files;
}

# An earlier call with this log may have been killed while its job still runs.
sub end_earlier_job {
    open my $in, '<', $id_file or return;
    my ($id) = map { /^(\d+)/a } <$in>;
    close $in;
    defined $id or return;
    my $queue = queue_of(run_program(undef, @QUEUE, $id))
        // fail("cannot ask Slurm whether job $id of an earlier call for this log still runs");
    return if !grep { $ALIVE{ $_->[0] } && same_file($_->[2], $script) } values %$queue;
    say_error("job $id of an earlier call for this log still runs: cancelling it");
    run_program(undef, 'scancel', $id);
    while (job_is_alive($id) // 1) {
        if (stop_asked()) { say_error("stopped by $stop, job $id is still ending"); exit 2 }
        sleep 0.3;
    }
}

# -> job's id
sub submit {
    my %value = (folder => $here, threads => $opt->{num_threads} // '', mark => '');
    my $number = $first;
    if ($is_array) {    # a number that does not occur elsewhere, as placeholder of the task number
        $number = 1_000_000_007;
        $number++ while grep { index($_, $number) >= 0 } @command, $log_pattern, $q;
        $value{mark} = $number;
        push @sbatch, "--array=$first-$last" . ($opt->{max_jobs_run} ? "%$opt->{max_jobs_run}" : '');
    }
    $value{line} = shell_line($name, $number, @command);
    $value{log} = put_number($log_pattern, $name, $number);
    $value{status} = "$q/$base.$number.status";
    my $is_written = open my $out, '>', $script;
    $is_written &&= print $out batch_script(%value);
    $is_written && close $out or fail("cannot write '$script': $!");
    my $output = "$q/$base." =~ s/%/%%/gr . ($is_array ? '%a' : $number) . '.out';
    # sbatch itself writes the job id into the file: even if we are killed, no job is without it.
    open my $answer, '+>', $id_file or fail("cannot write '$id_file': $!");
    my $program = run_program($answer, @sbatch, '--parsable', "--output=$output", $script);
    my ($id) = $program->{out} =~ /^(\d+)(?:;\S*)?$/m;
    if ($program->{status} != 0 || !defined $id) {
        unlink $script, $id_file;
        rmdir for reverse @made;
        fail("$sbatch[0] failed: " . join ' ', grep { /\S/ } @$program{qw(err out)});
    }
    print STDERR $program->{err};
    return $id;
}

end_earlier_job();
my $earlier = own_files();
unlink map { values %$_ } values %$earlier;
my $job = submit();

# ---- waiting

my %task = map { $_ => {} } $first .. $last;    # unfinished tasks; code, since, start: what is known of their end
my (%failed, $first_failed);                    # number => text
my ($asking, $asked, $next_look, $look_pause, $silent) = (undef, 0, 0, 2, 0);

sub task_id { return $is_array ? "${job}_$_[0]" : $job }

sub end_task {
    my ($number, $text) = @_;
    delete $task{$number};
    return if !defined $text;
    $failed{$number} = $text;
    $first_failed //= $number;
    my $log = put_number($log_pattern, $name, $number);
    say_error("job ", task_id($number), ": $text, log is in $log; waiting for the others")
        if keys %failed == 1 && %task;
}

sub look_at_files {
    my $files = own_files();
    for my $number (keys %task) {
        my $file = $files->{$number}{status} // next;
        open my $in, '<', $file or next;
        my ($code, $start) = (<$in> // '') =~ /^(\d+) (\d+)$/a or next;
        my $known = $task{$number}{start} // 0;
        # A code that is known gives way to that of a later start, whose waiting for a node no query has seen.
        next if $start < $known || (defined $task{$number}{code} && $start == $known);
        if ($code == 0) { end_task($number); next }
        $task{$number}{code} = $code;
        $task{$number}{since} = time;
        $task{$number}{start} = $start;
        $next_look = 0;    # query its state at once
    }
}

# Evaluate a state of squeue: the task is finished if the state is final and has lasted long enough for a status file.
sub judge {
    my ($number, $state, $reason) = @_;
    my $task = $task{$number};
    my $why = $reason =~ /^(?:None|NonZeroExitCode|)$/ ? '' : ": $reason";
    my $is_over = !$ALIVE{$state} || $state eq 'COMPLETING';
    my $age = $asked - ($task->{since} //= time);    # a slow answer tells what was
    if (defined $task->{code} && $state eq 'PENDING' && $task->{since} < $asked) {
        delete $task->{code};    # it had ended before squeue ran: Slurm ended it and starts it again
        $task->{start}++;
        $task->{ran} = 1;
    }
    if (defined $task->{code}) {
        if (!$ALIVE{$state}) { end_task($number, "$state$why, code $task->{code}") }
        elsif ($age >= $ENDED_S) { end_task($number, "code $task->{code}") }
        $next_look = 0;
    } elsif ($is_over) {
        end_task($number, "$state$why") if $age >= ($state eq 'COMPLETING' ? $COMPLETING_S : $ENDED_S);
        $next_look = 0;
    } else {
        delete $task->{since};
    }
    return if $is_over || !$task{$number};
    if ($state ne 'PENDING') { $task->{ran} = 1; return }
    if (delete $task->{ran}) { say_error('job ', task_id($number), " is requeued$why and will continue") }
    if ($reason =~ $NEVER) { return $task->{never}++ }    # give up at the second query
    delete $task->{never};
    if ($reason !~ $USUAL && !$task->{reported} && time - ($task->{odd} //= time) >= $ODD_S) {
        say_error('job ', task_id($number), " has been waiting for a minute$why");
        $_->{reported} = 1 for values %task;
    }
    return 0;
}

sub look_at_queue {
    if (!$asking) {
        return if time < $next_look;
        # makes a network file system refresh the folder
        if (open my $touch, '>', "$q/$base.look") { close $touch; unlink "$q/$base.look" }
        ($asking, $asked) = (start_program(undef, @QUEUE, $job), time);
    }
    return if !program_ended($asking);
    my $queue = queue_of($asking);
    if (!$queue) {
        say_error('Slurm does not answer (' . $asking->{err} =~ s/\s+/ /gr . '); still waiting') if !$silent++;
    } elsif ($silent) {
        say_error('Slurm answers again');
        $silent = 0;
    }
    undef $asking;
    $next_look = time + $look_pause;
    $look_pause = min($look_pause * 1.3, 8);
    return if !$queue;
    look_at_files();    # tasks that ended before squeue ran have their status files by now
    my @never;
    for my $number (sort { $a <=> $b } keys %task) {
        my ($state, $reason) = @{ $queue->{ task_id($number) } // ['LOST', 'Slurm no longer knows it'] };
        push @never, [$number, $reason] if judge($number, $state, $reason);
    }
    if (@never) {
        run_program(undef, 'scancel', map { task_id($_->[0]) } @never);
        end_task($_->[0], "can never start: $_->[1]; cancelled") for @never;
    }
    $next_look = time + 0.3 if $next_look == 0;
}

my $pause = 0.1;
while (%task && !stop_asked()) {
    look_at_files();
    look_at_queue();
    last if !%task;
    sleep $pause;
    $pause = min($pause * 1.1, 1);
}
if ($asking) {
    kill 'KILL', $asking->{pid};
    program_ended($asking, 0);
}

# Only the script and Slurm's messages remain.
sub clean_up {
    my $files = own_files();
    for my $file (values %$files) {
        unlink $file->{status} if defined $file->{status};
        unlink $file->{out} if defined $file->{out} && -z $file->{out};
    }
}

if (defined $stop) {
    my $cancel = run_program(undef, 'scancel', $job);
    my ($end, $is_alive) = (time + $CANCEL_S, 1);
    while (($is_alive = job_is_alive($job) // 1) && time < $end && $stops < 2) { sleep 0.2 }
    unlink $id_file if !$is_alive;
    clean_up();
    my $outcome = !$is_alive ? 'cancelled' : $cancel->{status} == 0 ? 'cancelled, but still ending' : 'NOT cancelled';
    say_error("stopped by $stop, job $job $outcome, log is in ", put_number($log_pattern, $name, '*'));
    exit 2;
}
if (%failed) {
    report_failures($name, $first, $last, $log_pattern, $first_failed, %failed);
    my $out = own_files()->{$first_failed}{out};
    print STDERR map { "Slurm: $_\n" } log_tail($out) if defined $out;
}
clean_up();
# If it is not certain that the job has ended, the next call checks it.
my $is_alive = %failed ? job_is_alive($job) : 0;
unlink $id_file if defined $is_alive && !$is_alive;
exit(%failed ? 1 : 0);
