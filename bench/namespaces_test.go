package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

func needNamespaces(t *testing.T) (ip string) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedNetAdmin(t)
	testenv.NeedTool(t, "nft")
	return testenv.NeedTool(t, "ip")
}

// ownNamespaces returns the names of the namespaces of this process.
func ownNamespaces(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(namespaceDir, namespacePrefix+strconv.Itoa(os.Getpid())+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestNamespacesAreSetUpAndRemoved(t *testing.T) {
	needNamespaces(t)
	p, err := openPlace(t.Context(), namespaces)
	if err != nil {
		t.Fatal(err)
	}
	if names := ownNamespaces(t); len(names) != 3 {
		t.Errorf("namespaces %q, want 3", names)
	}
	left, err := start("left behind", t.TempDir(), append(p.proxy(), "sleep", "600")...)
	if err != nil {
		t.Fatal(err)
	}
	defer left.stop()
	testnet.Eventually(t, "the process is where it should be", func() bool {
		pids, err := exec.Command(p.proxies.within[0], "netns", "pids", p.proxies.within[3]).Output()
		return err == nil && strings.TrimSpace(string(pids)) == strconv.Itoa(left.pid())
	})
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if names := ownNamespaces(t); len(names) != 0 {
		t.Errorf("still there: %q", names)
	}
	<-left.done
}

// What was made before the failure is removed.
func TestNamespacesThatCannotBeMade(t *testing.T) {
	ip := needNamespaces(t)
	// An ip that refuses to change the routes of the origin's namespace.
	fake := filepath.Join(t.TempDir(), "ip")
	script := "#!/bin/sh\ncase \"$*\" in\n*origin\\ route*) echo made up >&2; exit 1;;\nesac\nexec " + ip + ` "$@"` + "\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(fake)+":"+os.Getenv("PATH"))
	_, err := openPlace(t.Context(), namespaces)
	if err == nil || !strings.HasSuffix(err.Error(), "exit status 1: made up") {
		t.Errorf("error %v, want the output of ip", err)
	}
	if names := ownNamespaces(t); len(names) != 0 {
		t.Errorf("still there: %q", names)
	}
}

// The namespaces of a run that is gone are removed, and no others.
func TestLeftoversAreRemoved(t *testing.T) {
	ip := needNamespaces(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	name := func(pid int, site string) string { return namespacePrefix + strconv.Itoa(pid) + "-" + site }
	dead := []string{name(gone.Process.Pid, "client"), name(gone.Process.Pid, "origin")}
	others := []string{name(os.Getppid(), "client"), name(gone.Process.Pid, "else")}
	for _, name := range slices.Concat(dead, others) {
		if out, err := exec.Command(ip, "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		defer func() { _ = exec.Command(ip, "netns", "delete", name).Run() }()
	}
	survivor, err := start("survivor", t.TempDir(), ip, "netns", "exec", dead[0], "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	defer survivor.stop()
	testnet.Eventually(t, "the process is where it should be", func() bool {
		pids, err := exec.Command(ip, "netns", "pids", dead[0]).Output()
		return err == nil && len(pids) > 0
	})

	if err := removeLeftovers(t.Context(), ip); err != nil {
		t.Fatal(err)
	}
	<-survivor.done
	for _, name := range dead {
		if _, err := os.Stat(filepath.Join(namespaceDir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(namespaceDir, name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}
