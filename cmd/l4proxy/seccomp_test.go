package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// without returns a program that runs the program in its arguments with a system call that fails
// with EPERM, as under a container's seccomp profile (seccomp(2), mode filter).
func without(call uint32) func() {
	const syscallNumber = 0 // offset in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: syscallNumber},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	return func() { runFiltered(filter) }
}

func runFiltered(filter []unix.SockFilter) {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the filter is this thread's, and execve(2) keeps it
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	}
	path := os.Args[1]
	if err == nil {
		path, err = exec.LookPath(path)
	}
	if err == nil {
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "runFiltered:", err)
	os.Exit(125)
}

// profileVariable names the profile of underProfile.
const profileVariable = "L4PROXY_TEST_PROFILE"

// underProfile runs the program in its arguments under a seccomp profile for containers, as a
// container runtime would: it translates the profile to a filter.
func underProfile() {
	filter, err := filterOf(os.Getenv(profileVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, "underProfile:", err)
		os.Exit(125)
	}
	runFiltered(filter)
}

func filterOf(file string) ([]unix.SockFilter, error) {
	var profile struct {
		DefaultErrnoRet uint32
		Syscalls        []struct {
			Names    []string
			Action   string
			ErrnoRet uint32
			Args     []struct {
				Index           uint32
				Value, ValueTwo uint64
				Op              string
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &profile); err != nil {
		return nil, err
	}
	here, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno}
	for _, rule := range profile.Syscalls {
		group := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
		if rule.Action == "SCMP_ACT_ERRNO" {
			group.Action = seccomp.ActionErrno | seccomp.Action(rule.ErrnoRet)
		}
		var conditions seccomp.ArgumentConditions
		for _, a := range rule.Args {
			if a.Op != "SCMP_CMP_MASKED_EQ" || a.ValueTwo != 0 {
				return nil, fmt.Errorf("operation %s is not known here", a.Op)
			}
			conditions = append(conditions, seccomp.Condition{Argument: a.Index, Operation: seccomp.BitsNotSet, Value: a.Value})
		}
		for _, name := range rule.Names {
			switch _, ok := here.SyscallNames[name]; {
			case !ok: // of another architecture
			case conditions != nil:
				group.NamesWithCondtions = append(group.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: conditions})
			default:
				group.Names = append(group.Names, name)
			}
		}
		policy.Syscalls = append(policy.Syscalls, group)
	}
	instructions, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	// The package has no default with an errno.
	instructions[len(instructions)-1] = bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | profile.DefaultErrnoRet}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, nil
}
