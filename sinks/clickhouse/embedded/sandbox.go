//go:build linux && amd64

package embedded

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/ebitengine/purego"
	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// fileABI is the version of Landlock from which it keeps a process from all files but those
// that it is given, cutting them short included (Linux 6.2).
const fileABI = 3

// Harden readies a process that is to be nothing but the engine's: what it makes is for its
// user only, it leaves no memory on disk when it crashes, and it holds no files that its
// parent has left open in it but the first ones, of which there are keep.
func Harden(keep int) error {
	unix.Umask(0o077)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd < keep {
			continue
		}
		// What this process has opened itself is closed at exec; what it was given is not.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			if err := unix.Close(fd); err != nil {
				return fmt.Errorf("close inherited file %d: %w", fd, err)
			}
		}
	}
	return nil
}

// publicFiles and publicFolders are what the engine reads of the machine: random numbers, the
// time zone, its cores and memory. They say nothing about processes or users.
var (
	publicFiles = []string{
		"/dev/urandom", "/etc/localtime", "/proc/stat", "/proc/meminfo", "/proc/cpuinfo", "/proc/sys/vm/overcommit_memory",
		"/sys/kernel/mm/transparent_hugepage/enabled",
	}
	publicFolders = []string{"/usr/share/zoneinfo", "/usr/lib/debug", "/sys/devices/system/cpu", "/sys/fs/cgroup"}
)

// confineFiles leaves this process nothing but the data directory, the library and a few files
// that say nothing about anybody: from here on it cannot open, list, make, rename or cut short
// any other, whatever a query says. It returns what the kernel has no means for, in words.
func confineFiles(dir, library string) (lacking []string, err error) {
	if err := loadDependencies(library); err != nil {
		return nil, err
	}
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return []string{"files (the kernel has no Landlock, or it is off)"}, nil //nolint:nilerr // that is the answer
	}
	code, err := mappedFiles()
	if err != nil {
		return nil, fmt.Errorf("confine the engine to its files: %w", err)
	}
	for _, path := range []string{"/proc/self/task", "/proc/self/maps"} {
		if err := keepOpen(path); err != nil {
			return nil, fmt.Errorf("confine the engine to its files: %w", err)
		}
	}
	const (
		read  = ll.AccessFSReadFile
		list  = read | ll.AccessFSReadDir
		write = ll.AccessFSWriteFile | ll.AccessFSTruncate
		all   = list | write | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
			ll.AccessFSMakeSym | ll.AccessFSRefer
	)
	// Scopes keep signals and abstract sockets inside; no rule allows a port.
	err = landlock.V11.BestEffort().Restrict(
		landlock.PathAccess(all, dir),
		landlock.PathAccess(read, library),
		landlock.PathAccess(read|ll.AccessFSWriteFile, "/dev/null").IgnoreIfMissing(),
		landlock.PathAccess(read, publicFiles...).IgnoreIfMissing(),
		landlock.PathAccess(list, publicFolders...).IgnoreIfMissing(),
		// What the engine's threads have used of a core, by which it measures queries, and where
		// libc finds the stack of the first one.
		landlock.PathAccess(list, "/proc/self/task"),
		landlock.PathAccess(read, "/proc/self/maps"),
		// The engine looks into them for the names of functions when it reports an exception.
		landlock.PathAccess(read, code...),
	)
	if errors.Is(err, unix.E2BIG) { // a container, or whoever started it, has used up the 16 layers
		return []string{"files (Landlock confines this process in as many layers as it has already)"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("confine the engine to its files: %w", err)
	}
	if abi < fileABI {
		return []string{fmt.Sprintf("some files (the kernel's Landlock is version %d, and %d is needed)", abi, fileABI)}, nil
	}
	return nil, nil
}

// mappedFiles are the programs and libraries that this process consists of.
func mappedFiles() ([]string, error) {
	mapped, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	files := map[string]bool{}
	for line := range strings.Lines(string(mapped)) {
		if _, path, ok := strings.Cut(line, "/"); ok {
			files["/"+strings.TrimSuffix(path, "\n")] = true
		}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(path string) bool { return !isFile(path) }), nil
}

// keepOpen holds a path in /proc open for as long as the process lives: a rule of Landlock is
// for what was found there, and the kernel makes what nobody uses anew.
func keepOpen(path string) error {
	_, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	return err
}

// loadDependencies loads the system's libraries that the engine needs, which it could not open
// any more once it is confined.
func loadDependencies(library string) error {
	file, err := elf.Open(library)
	if err != nil {
		return fmt.Errorf("read the ClickHouse engine %s: %w", library, err)
	}
	defer file.Close()
	names, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read the ClickHouse engine %s: %w", library, err)
	}
	// libc loads this one by itself, when a thread is cancelled, and aborts where it cannot.
	_, _ = purego.Dlopen("libgcc_s.so.1", purego.RTLD_NOW|purego.RTLD_GLOBAL)
	for _, name := range names {
		if _, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL); err != nil {
			return fmt.Errorf("load what the ClickHouse engine %s needs: %w", library, err)
		}
	}
	return nil
}

// allowed are the system calls that the engine and Go's runtime need: work on open files and on
// paths, which Landlock judges, memory, time, threads, and the connections that were accepted.
// What is not here does not exist for the process: no new socket, no other program, no look into
// another process, no change of the machine. Those that older kernels lack do no harm.
var allowed = strings.Fields(`
	read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile splice tee copy_file_range
	close close_range dup dup2 dup3 fcntl flock fsync fdatasync sync_file_range fallocate ftruncate truncate fadvise64 readahead ioctl
	open openat openat2 creat access faccessat faccessat2 stat fstat lstat newfstatat statx statfs fstatfs getdents getdents64 readlink readlinkat
	getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat umask
	chmod fchmod fchmodat utime utimes utimensat futimesat
	mmap munmap mremap mprotect madvise msync mincore mlock munlock brk membarrier memfd_create get_mempolicy mbind
	futex futex_waitv get_robust_list set_robust_list rseq set_tid_address arch_prctl sched_yield sched_getaffinity sched_setaffinity
	sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getcpu getpriority
	exit exit_group gettid getpid getppid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid
	rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause restart_syscall
	nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times alarm getitimer setitimer
	timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime
	getrusage getrlimit sysinfo uname getrandom
	epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6 eventfd eventfd2 pipe pipe2
	accept accept4 shutdown getsockname getpeername getsockopt setsockopt recvfrom recvmsg recvmmsg
	io_setup io_destroy io_submit io_getevents io_cancel`)

// namespaces are the flags of clone that give a thread namespaces of its own.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// confineCalls leaves this process the system calls that it needs. Everything that it is to
// hold, such as its listener, is open by now. It tells whether the kernel could do so.
func confineCalls() (lacking []string, err error) {
	if !seccomp.Supported() {
		return []string{"other hosts and programs (the kernel has no seccomp)"}, nil
	}
	self := uint64(os.Getpid())
	thread := seccomp.ArgumentConditions{
		{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
		{Argument: 0, Operation: seccomp.BitsNotSet, Value: namespaces},
	}
	ownProcess := seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: self}}
	ownLimits := seccomp.ArgumentConditions{
		{Argument: 0, Operation: seccomp.Equal, Value: 0},
		{Argument: 2, Operation: seccomp.Equal, Value: 0}, // reads them
	}
	policy := seccomp.Policy{
		DefaultAction: seccomp.ActionErrno, // EPERM
		Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionAllow, Names: allowed, NamesWithCondtions: []seccomp.NameWithConditions{
				{Name: "clone", Conditions: thread},
				{Name: "tgkill", Conditions: ownProcess},
				{Name: "kill", Conditions: ownProcess},
				{Name: "prlimit64", Conditions: ownLimits},
				{Name: "prctl", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: unix.PR_SET_NAME}}},
				{Name: "prctl", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: unix.PR_GET_NAME}}},
				{Name: "prctl", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: unix.PR_SET_VMA}}},
				// A peer that was connected to keeps what it is sent; there is no other to name.
				{Name: "sendto", Conditions: seccomp.ArgumentConditions{{Argument: 4, Operation: seccomp.Equal, Value: 0}}},
			}},
			// Its flags lie in memory, where a filter does not look: libc then takes clone.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy}); err != nil {
		return nil, fmt.Errorf("confine the engine's system calls: %w", err)
	}
	// The kernel reports a thread that it could not reach as a success with that thread's number.
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); !errors.Is(err, unix.EPERM) {
		if err == nil {
			_ = unix.Close(fd)
		}
		return nil, errors.New("confine the engine's system calls: the filter is not in force on all threads")
	}
	return nil, nil
}
