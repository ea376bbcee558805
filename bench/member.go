package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"l4proxy/bench/traffic"
)

// failingBackends is how many backends there are where one of them fails.
const failingBackends = 3

// member is a backend that is a process of its own and can be made to fail.
type member struct {
	*process
	launch func() (*process, error)
	port   int
}

// startMembers starts a backend on each address. They are numbered from 1.
func (b bench) startMembers(ctx context.Context, addresses []string) (all []*member, err error) {
	defer func() {
		if err != nil {
			stopMembers(all)
		}
	}()
	for i, address := range addresses {
		dir := filepath.Join(b.dir, fmt.Sprintf("backend%d", i+1))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return all, err
		}
		text, err := port(address)
		if err != nil {
			return all, err
		}
		m := &member{launch: func() (*process, error) {
			return b.startOriginOn(address, dir, traffic.OriginSpec{
				Work: traffic.Backend, Number: i + 1, RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
			})
		}}
		if m.port, err = strconv.Atoi(text); err != nil {
			return all, err
		}
		if m.process, err = m.launch(); err != nil {
			return all, err
		}
		all = append(all, m)
		if err := m.awaitListening(ctx, m.port); err != nil {
			return all, err
		}
	}
	return all, nil
}

// stopMembers ends backends, also suspended ones.
func stopMembers(all []*member) {
	for _, m := range all {
		_ = m.cmd.Process.Signal(syscall.SIGCONT) // a suspended process does not handle SIGTERM; it may also have ended
		m.stop()
	}
}

// kill returns when the process has ended and the kernel has closed its files.
func (m *member) kill(context.Context) error {
	if err := m.cmd.Process.Kill(); err != nil {
		return err
	}
	<-m.done
	return nil
}

// restart starts a killed process again, on the same port, and returns when it
// listens.
func (m *member) restart(ctx context.Context) error {
	p, err := m.launch()
	if err != nil {
		return err
	}
	m.process = p
	return p.awaitListening(ctx, m.port)
}

// suspend stops the process (SIGSTOP), and returns when none of its threads runs
// any more. The kernel still accepts connections for it.
func (m *member) suspend(ctx context.Context) error {
	if err := m.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		if stopped, err := suspended(m.pid()); stopped || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-m.done:
			return errors.New("the backend ended instead of being suspended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resume continues a suspended process.
func (m *member) resume(context.Context) error { return m.cmd.Process.Signal(syscall.SIGCONT) }
