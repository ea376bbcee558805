package packaging

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write container/seccomp.json")

// calls are the system calls that the profile for containers allows, and who makes them. A newer
// Go or C library may need others: then this table is the place to add them.
var calls = []struct{ who, names string }{
	{"the Go runtime: memory, threads, signals, time", `
		arch_prctl brk clock_getres clock_gettime clock_nanosleep close exit exit_group futex getpid getrandom gettid
		gettimeofday madvise membarrier mincore mmap mprotect mremap munmap nanosleep prctl restart_syscall rseq
		rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity
		sched_yield set_robust_list get_robust_list set_tid_address setitimer getitimer sigaltstack tgkill tkill
		timer_create timer_delete timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime`},
	{"the event loops: io_uring and epoll", `
		io_uring_enter io_uring_register io_uring_setup epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
		epoll_wait eventfd2 poll ppoll select pselect6 pipe pipe2 splice tee vmsplice`},
	{"sockets", `
		accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendfile
		sendmmsg sendmsg sendto setsockopt shutdown socket socketpair`},
	{"files: configuration, lists, logs, state, the sockets' files", `
		access chdir chmod chown creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat
		fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate getcwd getdents getdents64
		inotify_add_watch inotify_init1 inotify_rm_watch ioctl lchown link linkat lseek lstat mkdir mkdirat
		newfstatat open openat openat2 pread64 preadv pwrite64 pwritev read readlink readlinkat readv rename renameat
		renameat2 rmdir stat statfs statx symlink symlinkat sync_file_range truncate umask unlink unlinkat utimensat
		write writev`},
	{"an upgrade: the next process", `
		execve fork getpgid getpgrp getppid getsid kill pidfd_open pidfd_send_signal setpgid setsid vfork wait4 waitid`},
	{"giving up privileges, and CPUs and limits", `
		capget capset getegid geteuid getgid getgroups getresgid getresuid getrlimit getrusage getuid
		landlock_add_rule landlock_create_ruleset landlock_restrict_self prlimit64 sched_getattr sched_getparam
		sched_getscheduler sched_setaffinity sched_setattr sched_setscheduler seccomp setfsgid setfsuid setgid
		setgroups setregid setresgid setresuid setreuid setrlimit setuid sysinfo times uname getcpu getpriority
		setpriority`},
}

// profile is the format that Docker, Podman and Kubernetes read (the OCI runtime specification,
// linux.seccomp, with Docker's names).
type profile struct {
	DefaultAction   string        `json:"defaultAction"`
	DefaultErrnoRet int           `json:"defaultErrnoRet"`
	ArchMap         []archMap     `json:"archMap"`
	Syscalls        []profileRule `json:"syscalls"`
}

type archMap struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

type profileRule struct {
	Comment  string       `json:"comment,omitempty"`
	Names    []string     `json:"names"`
	Action   string       `json:"action"`
	ErrnoRet int          `json:"errnoRet,omitempty"`
	Args     []profileArg `json:"args,omitempty"`
}

type profileArg struct {
	Index    int    `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

func generated() profile {
	p := profile{
		DefaultAction: "SCMP_ACT_ERRNO", DefaultErrnoRet: int(unix.EPERM),
		// Only the machine's own calls: what 32-bit programs use is denied.
		ArchMap: []archMap{{"SCMP_ARCH_X86_64", []string{}}, {"SCMP_ARCH_AARCH64", []string{}}},
	}
	for _, c := range calls {
		names := strings.Fields(c.names)
		slices.Sort(names)
		p.Syscalls = append(p.Syscalls, profileRule{Comment: c.who, Names: names, Action: "SCMP_ACT_ALLOW"})
	}
	return profile{p.DefaultAction, p.DefaultErrnoRet, p.ArchMap, append(p.Syscalls,
		profileRule{
			Comment: "threads and processes, but no namespaces", Names: []string{"clone"}, Action: "SCMP_ACT_ALLOW",
			Args: []profileArg{{Index: 0, Value: namespaces, Op: "SCMP_CMP_MASKED_EQ"}},
		},
		profileRule{
			Comment: "its flags cannot be checked: as if it did not exist, callers use clone", Names: []string{"clone3"},
			Action: "SCMP_ACT_ERRNO", ErrnoRet: int(unix.ENOSYS),
		})}
}

// TestContainerProfile: the file is what the table says. cmd/l4proxy has a test that runs under it.
func TestContainerProfile(t *testing.T) {
	const file = "container/seccomp.json"
	want, err := json.MarshalIndent(generated(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the table says: go test ./packaging -update writes it", file)
	}
	seen := make(map[string]bool)
	for _, rule := range generated().Syscalls {
		for _, name := range rule.Names {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
	for _, name := range []string{"io_uring_setup", "io_uring_enter", "io_uring_register"} {
		if !seen[name] {
			t.Errorf("the profile does not allow %s", name)
		}
	}
	for _, name := range []string{"ptrace", "mount", "bpf", "keyctl", "unshare", "setns", "init_module", "userfaultfd", "perf_event_open"} {
		if seen[name] {
			t.Errorf("the profile allows %s", name)
		}
	}
}
