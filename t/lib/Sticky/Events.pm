package Sticky::Events;

# What Test::Nginx sleeps for, as events, and what it starts a process for, without one. Half of the time that a suite
# took was this: 45 ms after each request, 50 ms for an nginx that ends in two, a `ps` and an `nginx -V` for each block.
# Loaded before Test::Nginx.

use strict;
use warnings;

use POSIX ();
use Time::HiRes ();

use Exporter 'import';
our @EXPORT = qw(wait_until workers_of_nginx);

# Set while requests of this block are still to be sent.
our $more_to_come;

# Told to exit by the reload before this block.
our @workers_before;

# `nginx -V` says the same each time.
my %said;
BEGIN {
    *CORE::GLOBAL::readpipe = sub {
        my $command = shift;
        return CORE::readpipe($command) if wantarray || $command !~ / -V 2>&1$/;
        if (!defined $said{$command}) {
            my $text = CORE::readpipe($command);
            return $text if $?;
            $said{$command} = $text;
        }
        $? = 0;
        return $said{$command};
    };
}

require Test::Nginx::Util;

# Waits for a condition, up to half a minute. True if it holds.
sub wait_until(&) {
    my $is_true = shift;
    my $deadline = Time::HiRes::time() + 30;
    while (!$is_true->()) {
        return '' if Time::HiRes::time() > $deadline;
        Time::HiRes::sleep(0.003);
    }
    return 1;
}

# The state of a process, empty without one: proc_pid_stat(5).
sub state_of {
    my $pid = shift;
    open my $file, '<', "/proc/$pid/stat" or return '';
    return (<$file> // '') =~ /^.*\) (\S)/s ? $1 : '';
}

sub master_of_nginx {
    open my $file, '<', $Test::Nginx::Util::PidFile or return;
    return (<$file> // '') =~ /^(\d+)$/ ? $1 : ();
}

# The processes of nginx that have not been told to exit.
sub workers_of_nginx {
    my ($master) = master_of_nginx() or return ();
    open my $file, '<', "/proc/$master/task/$master/children" or return ();
    return grep {
        open my $arguments, '<', "/proc/$_/cmdline";
        my $title = defined fileno $arguments ? <$arguments> // '' : '';
        $title ne '' && $title !~ /is shutting down/;
    } split ' ', <$file> // '';
}

if (-r "/proc/$$/stat") {
    no warnings 'redefine', 'prototype';

    *Test::Nginx::Util::is_running = sub {
        my $pid = shift;
        return kill(0, $pid) && state_of($pid) ne 'Z';
    };

    # It asks again each 50 ms whether the process is there. What does not end within its time is left to it.
    my $kill_process = \&Test::Nginx::Util::kill_process;
    *Test::Nginx::Util::kill_process = sub {
        my ($pid, $wait, $name) = @_;
        if ($wait && defined $pid) {
            kill POSIX::SIGQUIT(), $pid;
            my $deadline = Time::HiRes::time() + Test::Nginx::Util::timeout();
            while (Test::Nginx::Util::is_running($pid) && Time::HiRes::time() < $deadline) {
                waitpid $pid, POSIX::WNOHANG();
                Time::HiRes::sleep(0.002);
            }
            return if !Test::Nginx::Util::is_running($pid);
        }
        $kill_process->(@_);
    };

    # It sleeps before it reads the error log, for what is logged after an answer. Lines that come too late for the check
    # after one request are in the check after the next: only the last one of a block needs the time.
    #
    # It also sleeps between USR1 and HUP, in a block that begins with a reload. It has removed the log, and nginx makes a
    # new one at USR1. A master that gets both signals at once reloads first, and what it says of the configuration is in
    # the file that was removed.
    my $sleep = \&Test::Nginx::Util::sleep;
    *Test::Nginx::Util::sleep = sub {
        my $caller = (caller 1)[3] // '';
        return 0 if $more_to_come && $caller eq 'Test::Nginx::Util::error_log_data';
        if ($caller eq 'Test::Nginx::Util::run_test' && !-e $Test::Nginx::Util::ErrLogFile) {
            my ($master) = master_of_nginx();
            wait_until { -e $Test::Nginx::Util::ErrLogFile } if $master && Test::Nginx::Util::is_running($master);
        }
        return $sleep->(@_);
    };

    # After a reload the workers before it take connections until the master tells them to leave: a moment after the new
    # ones have begun, on a busy machine a long one. Test::Nginx believes in the reload when twenty requests in a row have
    # met a new one, which proves nothing, and takes its time. A block begins when they have been told.
    *Test::Nginx::Util::test_config_version = sub {
        my $name = shift;
        wait_until {
            my %now = map { $_ => 1 } workers_of_nginx();
            %now && !grep { $now{$_} } @workers_before;
        } or Test::More::fail("$name - nginx reloads");
    };
}

1;
