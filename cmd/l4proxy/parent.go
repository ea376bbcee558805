package main

import (
	"os"
	"runtime/debug"

	"l4proxy/upgrade"
)

// stayAsParent is the rest of the life of process 1 after an upgrade: it stays as the parent of the
// new process, because its own end would end the container. Other processes just end.
func stayAsParent(result upgrade.Result, signals <-chan os.Signal) error {
	if os.Getpid() != 1 {
		return nil
	}
	debug.FreeOSMemory()
	if status := result.Supervise(signals); status != exitDone {
		return exitStatus(status)
	}
	return nil
}

// findParent looks for a process 1 that has handed over to this process or to one before it.
func (t *takeover) findParent(p *process) {
	parent, err := t.session.Parent()
	if parent == nil && err == nil {
		parent, err = t.parent, nil
	}
	if err != nil {
		p.log.Error("upgrade: process 1 will not know the next process", "error", err.Error())
	}
	p.parent.Store(parent)
}

// tellParent reports the next process to process 1.
func (p *process) tellParent(pid int) {
	parent := p.parent.Load()
	if parent == nil {
		return
	}
	if err := parent.Succeeded(pid); err != nil {
		p.log.Error("upgrade: process 1 does not know the next process", "error", err.Error())
	}
	parent.Close()
}

// parentSocket is the socket to process 1, for the next process.
func (p *process) parentSocket() []upgrade.Socket {
	if parent := p.parent.Load(); parent != nil {
		return []upgrade.Socket{{Kind: upgrade.KindParent, FD: parent.FD}}
	}
	return nil
}
