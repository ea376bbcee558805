package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/config"
	"l4proxy/control"
	"l4proxy/internal/testnet"
)

// fakeView is ready, and has a status.
type fakeView struct{}

func (fakeView) Alive(context.Context) error { return nil }
func (fakeView) NotReady() string            { return "" }
func (fakeView) Status() *admin.Status       { return &admin.Status{Version: "test"} }

// moving is an admin address that a test changes.
type moving struct {
	t *testing.T
	*adminAddress
}

func newMoving(t *testing.T, commands admin.Commands) moving {
	testnet.SameFiles(t)
	m := moving{t, &adminAddress{view: fakeView{}, commands: commands, log: slog.New(slog.DiscardHandler)}}
	t.Cleanup(m.stop)
	return m
}

// config is a configuration with this admin section; "" is none.
func (m moving) config(section string) *config.Config {
	m.t.Helper()
	text := "listeners: {web: {bind: \"127.0.0.1:0\"}}\npools: {web: {backends: [\"127.0.0.1:1\"]}}\n"
	if section != "" {
		text = "admin: " + section + "\n" + text
	}
	cfg, err := config.Parse("config.yaml", []byte(text), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return cfg
}

// change makes the change to another section.
func (m moving) change(section string) {
	m.t.Helper()
	commit, _, err := m.stage(nil, m.config(section))
	if err != nil {
		m.t.Fatal(err)
	}
	if commit != nil {
		commit()
	}
}

// asks asks the address for the status.
func asks(t *testing.T, address, token string) error {
	t.Helper()
	c, err := client.New(address, token)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	return err
}

// keeps sends a change, which needs the token.
func keeps(t *testing.T, address, token string) error {
	t.Helper()
	c, err := client.New(address, token)
	if err != nil {
		t.Fatal(err)
	}
	return c.Keep(t.Context())
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// The address comes, moves, gets a token, and goes, while the process runs.
func TestAdminAddressMoves(t *testing.T) {
	m := newMoving(t, admin.Commands{Keep: func(context.Context) error { return nil }})
	file := filepath.Join(t.TempDir(), "admin.sock")
	port := freePort(t)
	tcp := fmt.Sprintf("127.0.0.1:%d", port)

	m.change("{bind: \"unix:" + file + "\"}")
	if err := asks(t, "unix:"+file, ""); err != nil {
		t.Error(err)
	}
	m.change("{bind: \"" + tcp + "\"}")
	if err := keeps(t, tcp, ""); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file of the old socket is still there")
	}
	m.change("{bind: \"" + tcp + "\", token: a-long-random-token}")
	if err := keeps(t, tcp, ""); err == nil {
		t.Error("no token was needed")
	}
	if err := keeps(t, tcp, "a-long-random-token"); err != nil {
		t.Error(err)
	}
	wider := m.config(fmt.Sprintf("{bind: \":%d\", token: a-long-random-token}", port)) // it overlaps the old one
	testnet.Eventually(t, "no connection of another program has the port", func() bool {
		commit, _, err := m.stage(nil, wider)
		if err == nil {
			commit()
		}
		return err == nil
	})
	if err := asks(t, tcp, "a-long-random-token"); err != nil {
		t.Error(err)
	}
	if err := asks(t, tcp, ""); err == nil {
		t.Error("reading needed no token on an address that others can reach")
	}
	m.change("")
	if err := asks(t, tcp, ""); err == nil {
		t.Error("the address is still open")
	}
}

// The mode of the socket's file follows the configuration, and the socket stays.
func TestAdminSocketMode(t *testing.T) {
	m := newMoving(t, admin.Commands{})
	file := filepath.Join(t.TempDir(), "admin.sock")
	mode := func() (os.FileMode, uint64) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		var stat unix.Stat_t
		if err := unix.Stat(file, &stat); err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm(), stat.Ino
	}
	m.change("{bind: \"unix:" + file + "\"}")
	first, inode := mode()
	m.change("{bind: \"unix:" + file + "\", mode: \"0660\"}")
	second, same := mode()
	if first != 0o600 || second != 0o660 || inode != same {
		t.Errorf("mode %o of %d, then %o of %d", first, inode, second, same)
	}
	if _, abort, err := m.stage(nil, m.config("{bind: \"unix:"+file+"\", mode: \"0666\"}")); err != nil {
		t.Error(err)
	} else {
		abort()
	}
	if now, _ := mode(); now != 0o660 {
		t.Errorf("after abort, the mode is %o", now)
	}
	if err := asks(t, "unix:"+file, ""); err != nil {
		t.Error(err)
	}
}

// A change that is aborted, or that fails, leaves the address as it is.
func TestAdminAddressStays(t *testing.T) {
	m := newMoving(t, admin.Commands{Keep: func(context.Context) error { return nil }})
	dir := t.TempDir()
	file := filepath.Join(dir, "admin.sock")
	m.change("{bind: \"unix:" + file + "\"}")
	other := filepath.Join(dir, "other.sock")
	for _, section := range []string{"{bind: \"unix:" + other + "\"}", "{bind: \"127.0.0.1:0\"}"} {
		_, abort, err := m.stage(nil, m.config(section))
		if err != nil {
			t.Fatal(err)
		}
		abort()
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("the file of the other socket is still there")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, _, err = m.stage(nil, m.config("{bind: \""+taken.Addr().String()+"\"}"))
	if err == nil || !strings.Contains(err.Error(), "config.yaml:1:15: admin address: cannot listen on") {
		t.Errorf("error %v", err)
	}
	commit, _, err := m.stage(nil, m.config("{bind: \"unix:"+file+"\"}"))
	if commit != nil || err != nil {
		t.Errorf("no change is a change, or an error: %v", err)
	}
	if err := keeps(t, "unix:"+file, ""); err != nil {
		t.Error(err)
	}
}

// The request that changes the address is answered on the old one.
func TestRequestThatMovesTheAddress(t *testing.T) {
	var m moving
	file := filepath.Join(t.TempDir(), "admin.sock")
	m = newMoving(t, admin.Commands{Keep: func(context.Context) error { m.change(""); return nil }})
	m.change("{bind: \"unix:" + file + "\"}")
	if err := keeps(t, "unix:"+file, ""); err != nil {
		t.Error(err)
	}
}

// Another process gets a duplicate of the socket, and the file stays for it.
func TestAdminSocketIsHandedOver(t *testing.T) {
	old := newMoving(t, admin.Commands{})
	file := filepath.Join(t.TempDir(), "admin.sock")
	if fd, _, err := old.handOver(); fd != -1 || err != nil {
		t.Errorf("without an address: %d, %v", fd, err)
	}
	old.change("{bind: \"unix:" + file + "\"}")
	fd, name, err := old.handOver()
	if err != nil {
		t.Fatal(err)
	}
	next := moving{t, &adminAddress{view: fakeView{}, log: slog.New(slog.DiscardHandler)}}
	t.Cleanup(next.stop)
	plan, err := control.PlanAdmin(t.Context(), next.config("{bind: \"unix:"+file+"\"}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if name != plan.Bind.String() {
		t.Errorf("the name is %s, want %s", name, plan.Bind)
	}
	if err := next.open(plan, fd); err != nil {
		t.Fatal(err)
	}
	next.discard() // an upgrade that fails at this point changes nothing
	if err := asks(t, "unix:"+file, ""); err != nil {
		t.Error(err)
	}
	if fd, _, err = old.handOver(); err != nil {
		t.Fatal(err)
	}
	if err := next.open(plan, fd); err != nil {
		t.Fatal(err)
	}
	old.release()
	old.stop()
	next.serve()
	if err := asks(t, "unix:"+file, ""); err != nil {
		t.Error(err)
	}
	next.stop()
	if _, err := os.Stat(file); err == nil {
		t.Error("the file is still there")
	}
}

func TestAdminDescriptorsAreCounted(t *testing.T) {
	plan := &control.Plan{Admin: new(control.AdminPlan)}
	if got, want := plan.OtherDescriptors()-new(control.Plan).OtherDescriptors(), 1+admin.MaxConnections; got != want {
		t.Errorf("%d descriptors are counted, want %d", got, want)
	}
}
