package confine

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// denied are the system calls that no proxy makes. Most need privileges too; those that do not are
// the entrances of many kernel exploits: user namespaces, keyrings, userfaultfd, perf and bpf.
var denied = []string{
	"acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime", "create_module", "delete_module",
	"finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "init_module", "ioperm", "iopl",
	"kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "modify_ldt", "mount", "mount_setattr",
	"move_mount", "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "personality",
	"pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "query_module",
	"quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "sethostname", "setns", "settimeofday",
	"swapoff", "swapon", "sysfs", "syslog", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup",
}

// namespaces are the flags of clone(2) that create one: CLONE_NEWUSER, NEWNS, NEWPID, NEWNET,
// NEWUTS, NEWIPC and NEWCGROUP.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// denyFlags denies a call with any of the flags in its first argument.
func denyFlags(name string, flags uint64) (list []seccomp.NameWithConditions) {
	for bit := range 64 {
		if flag := uint64(1) << bit; flags&flag != 0 {
			list = append(list, seccomp.NameWithConditions{Name: name, Conditions: seccomp.ArgumentConditions{
				{Argument: 0, Operation: seccomp.BitsSet, Value: flag},
			}})
		}
	}
	return list
}

// program is the filter: denied calls fail with EPERM, all others are allowed. The flags of clone3
// are in memory, where a filter cannot look, so it does not exist (ENOSYS), and callers fall back
// to clone. The kernel remembers which calls are always allowed, and does not run the filter for
// these.
func program() ([]bpf.RawInstruction, error) {
	here, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{
		{Action: seccomp.ActionErrno | seccomp.Action(unix.EPERM), NamesWithCondtions: denyFlags("clone", namespaces)},
		{Action: seccomp.ActionErrno | seccomp.Action(unix.EPERM)},
		{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
	}}
	for _, name := range denied { // an architecture does not have all
		if _, ok := here.SyscallNames[name]; ok {
			policy.Syscalls[1].Names = append(policy.Syscalls[1].Names, name)
		}
	}
	instructions, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	return bpf.Assemble(instructions)
}

// filterCalls denies rare system calls. A process that has a filter already, from a container, a
// service or the process before it, gets no second one.
func (r *Report) filterCalls() {
	if filtered() {
		return
	}
	raw, err := program()
	if err == nil {
		err = install(raw)
	}
	if err != nil {
		r.missing("system calls not filtered", err)
	}
}

// install filters the system calls of all threads. SPEC_ALLOW leaves the speculation of the CPU as
// it is: a filter of a process that runs no code of others does not need to slow it down.
func install(raw []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&prog)))
	switch {
	case errno != 0:
		return fmt.Errorf("seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("seccomp: thread %d has another filter", thread)
	}
	return nil
}

// filtered reports whether a seccomp filter is active.
func filtered() bool {
	status, _ := os.ReadFile("/proc/self/status")
	return bytes.Contains(status, []byte("\nSeccomp:\t2\n"))
}
