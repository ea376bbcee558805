package testenv

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// Start starts a program that may start others, such as a proxy that is upgraded, in a process
// group of its own. The group is killed at the end of the test, and also when the test binary ends
// before, by a timeout or by a signal: then a shell notices the end of its input.
func Start(t testing.TB, cmd *exec.Cmd) error {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return err
	}
	group := cmd.Process.Pid
	guard := exec.Command("sh", "-c", `read -r _; kill -s KILL -- "-$0" 2>/dev/null`, strconv.Itoa(group))
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's SIGINT must not end it
	leash, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		_ = syscall.Kill(-group, syscall.SIGKILL)
		t.Fatalf("guard of the process group: %v", err)
	}
	t.Cleanup(func() {
		_ = leash.Close()
		_ = guard.Wait() // it fails if the group has ended already
	})
	return nil
}
