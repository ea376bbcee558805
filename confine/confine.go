package confine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Level says how much is given up besides the user.
type Level int

// Levels, from nothing to everything.
const (
	// Off gives up nothing.
	Off Level = iota
	// Auto sets no_new_privs, drops the capabilities that no proxy needs and limits writing
	// (Landlock). It costs nothing per system call.
	Auto
	// Strict adds a filter of system calls (seccomp), which costs about 20 ns per call.
	Strict
)

// Options say what to give up, and what to keep.
type Options struct {
	Level Level
	// User is the user to become; nil stays the same.
	User *User
	// Needs are the capabilities to keep when the user changes.
	Needs []Need
	// Writable are directories below which files can be created and changed, besides the usual
	// ones. Those that do not exist are left out.
	Writable []string
	// Inherited is what a process before this one has restricted already.
	Inherited State
}

// State is what cannot be found out about a process from inside, so it has to be handed on.
type State struct {
	// Writes says that writing is limited.
	Writes bool `json:"writes,omitempty"`
}

// Report is what Apply has done.
type Report struct {
	State
	// User is the name of the user that was asked for; "" if the process stays what it was.
	User string
	// Capabilities are those that are left.
	Capabilities Set
	// NoNewPrivs says that execve(2) gives no privileges (PR_SET_NO_NEW_PRIVS).
	NoNewPrivs bool
	// Filtered says that a seccomp filter is active, ours or that of a container or a service.
	Filtered bool
	// Missing are the restrictions that this kernel or a profile does not allow, with the reason.
	Missing []string
}

// Apply gives up what the options say, on all threads. An error means that the process should end:
// it may have given up a part. What the kernel lacks is no error, see Report.Missing.
func Apply(o Options) (*Report, error) {
	r := &Report{State: o.Inherited}
	if o.User != nil {
		r.User = o.User.Name
	}
	switch {
	case o.User != nil && !o.User.current():
		if err := o.User.become(setOf(o.Needs)); err != nil {
			return nil, err
		}
	case o.Level != Off && unix.Geteuid() == 0:
		r.try("capabilities not dropped", dropFromRoot())
	case o.Level != Off:
		// With no_new_privs, execve(2) ignores the capabilities of a file. Those that came from
		// there have to survive an upgrade.
		r.try("capabilities not kept for an upgrade", keepOverExec())
	}
	if o.Level != Off {
		r.try("no_new_privs not set", noNewPrivs())
		r.limitWrites(o.Writable)
	}
	if o.Level == Strict {
		r.filterCalls()
	}
	var err error
	if r.Capabilities, err = current(); err != nil {
		return nil, err
	}
	r.NoNewPrivs = hasNoNewPrivs()
	r.Filtered = filtered()
	return r, nil
}

// noNewPrivs makes execve(2) give no privileges any more. Whatever a process inherits, all of its
// threads have it, so one of them can answer for all.
func noNewPrivs() error {
	if hasNoNewPrivs() {
		return nil
	}
	return setOnAllThreads(unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}

func hasNoNewPrivs() bool {
	on, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return on == 1
}

// try notes what could not be given up.
func (r *Report) try(what string, err error) {
	if err != nil {
		r.missing(what, err)
	}
}

func (r *Report) missing(what string, why error) {
	r.Missing = append(r.Missing, fmt.Sprintf("%s: %v", what, why))
}
