package confine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
)

// A process that has given something up cannot take it back. So each test does that in a process of
// its own, which is this test binary again.

const (
	taskVariable = "CONFINE_TEST_TASK"
	argVariable  = "CONFINE_TEST_ARG"
)

var tasks = map[string]func(arg string) error{}

func TestMain(m *testing.M) {
	task, ok := tasks[os.Getenv(taskVariable)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := task(os.Getenv(argVariable)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func taskCommand(name, arg string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), taskVariable+"="+name, argVariable+"="+arg, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// run runs a task, and returns what it prints.
func run(t *testing.T, name, arg string) string {
	t.Helper()
	out, err := taskCommand(name, arg).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

var nobody = &User{Name: "nobody", UID: 65534, GID: 65533, Groups: []int{65532}}

// status is the line of a name in the status of each thread, which must be the same for all.
func status(name string) (string, error) {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return "", err
	}
	value := ""
	for i, file := range files {
		f, err := os.Open(file)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue // the thread has ended
			}
			return "", err
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			rest, ok := strings.CutPrefix(lines.Text(), name+":")
			if rest = strings.Join(strings.Fields(rest), " "); !ok {
				continue
			}
			if i > 0 && rest != value {
				f.Close()
				return "", fmt.Errorf("%s: %s of a thread, %s of another", name, rest, value)
			}
			value = rest
		}
		f.Close()
	}
	return value, nil
}

// lockedThreads are threads as event loops hold them: one waits in a system call, one in Go.
func lockedThreads() (done func()) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		panic(err)
	}
	ready, stop := make(chan bool), make(chan bool)
	for i := range 4 {
		go func() {
			runtime.LockOSThread()
			ready <- true
			if i%2 == 0 {
				_, _ = unix.Read(p[0], make([]byte, 1))
			}
			<-stop
		}()
		<-ready
	}
	return func() { close(stop); _, _ = unix.Write(p[1], make([]byte, 2)) }
}

type wanted struct{ name, value string }

func expect(all ...wanted) error {
	for _, w := range all {
		if got, err := status(w.name); err != nil || got != w.value {
			return fmt.Errorf("%s of all threads is %s, want %s (%v)", w.name, got, w.value, err)
		}
	}
	return nil
}

// asNobody is what every thread has after become, in this process and in the next one.
var asNobody = []wanted{
	{"Uid", "65534 65534 65534 65534"}, {"Gid", "65533 65533 65533 65533"}, {"Groups", "65532"}, {"NoNewPrivs", "1"},
	{"CapInh", "0000000000000400"}, {"CapPrm", "0000000000000400"}, {"CapEff", "0000000000000400"},
	{"CapBnd", "0000000000000400"}, {"CapAmb", "0000000000000400"},
}

func init() {
	tasks["as nobody"] = func(string) error {
		if err := expect(asNobody...); err != nil {
			return err
		}
		// Again, as after an upgrade: nothing is left to do, and nothing fails.
		_, err := Apply(Options{Level: Auto, User: nobody, Needs: []Need{{Capability: unix.CAP_NET_BIND_SERVICE}}, Inherited: State{Writes: true}})
		if err == nil {
			err = expect(asNobody...)
		}
		return err
	}
	tasks["become"] = func(string) error {
		defer lockedThreads()()
		r, err := Apply(Options{Level: Auto, User: nobody, Needs: []Need{{Capability: unix.CAP_NET_BIND_SERVICE}}})
		if err != nil {
			return err
		}
		if r.User != "nobody" || r.Capabilities.String() != "net_bind_service" || !r.NoNewPrivs {
			return fmt.Errorf("report %+v", r)
		}
		if err := expect(asNobody...); err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		l.Close()
		if l, err = lowPort(); err != nil {
			return fmt.Errorf("a low port, with the capability for it: %w", err)
		}
		l.Close()
		if err := unix.Setuid(0); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("back to root: %v, want EPERM", err)
		}
		if err := (&User{Name: "x", UID: 1, GID: 1}).Allowed(); err == nil {
			return errors.New("another user is allowed")
		}
		out, err := taskCommand("as nobody", "").CombinedOutput()
		if err != nil {
			return fmt.Errorf("the next process: %w: %s", err, out)
		}
		return nil
	}
}

// lowPort listens on a free port below 1024.
func lowPort() (l net.Listener, err error) {
	for port := 1023; port > 900; port-- {
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.9:%d", port)); !errors.Is(err, unix.EADDRINUSE) {
			return l, err
		}
	}
	return l, err
}

// TestBecome: all threads lose the user, the groups and the capabilities, and the next process has
// the same.
func TestBecome(t *testing.T) {
	testenv.NeedRoot(t)
	run(t, "become", "")
}

func init() {
	tasks["root"] = func(string) error {
		defer lockedThreads()()
		r, err := Apply(Options{Level: Auto})
		if err != nil {
			return err
		}
		for _, c := range []int{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SYS_MODULE} {
			if r.Capabilities.Has(c) {
				return fmt.Errorf("%s is left", Name(c))
			}
		}
		for _, c := range []int{unix.CAP_NET_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_SETUID} {
			if !r.Capabilities.Has(c) {
				return fmt.Errorf("%s is gone", Name(c))
			}
		}
		bounding, err := status("CapBnd")
		if err != nil {
			return err
		}
		if permitted, err := status("CapPrm"); err != nil || permitted != bounding {
			return fmt.Errorf("the next process gets %s, this one has %s (%v)", bounding, permitted, err)
		}
		return nil
	}
}

// TestRootDropsCapabilities: without a user, root keeps what a reload may need.
func TestRootDropsCapabilities(t *testing.T) {
	testenv.NeedRoot(t)
	run(t, "root", "")
}

func init() {
	tasks["writes"] = func(arg string) error {
		var dirs struct{ Yes, No string }
		if err := json.Unmarshal([]byte(arg), &dirs); err != nil {
			return err
		}
		before, err := os.OpenFile(filepath.Join(dirs.No, "log"), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		r, err := Apply(Options{Level: Auto, Writable: []string{dirs.Yes, "/nonexistent"}})
		if err != nil {
			return err
		}
		if !r.Writes || r.Missing != nil {
			return fmt.Errorf("report %+v", r)
		}
		if _, err := before.WriteString("a line\n"); err != nil {
			return fmt.Errorf("a file that is open: %w", err)
		}
		if _, err := os.ReadFile(before.Name()); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		for _, try := range []func(dir string) error{
			func(dir string) error { return os.WriteFile(dir+"/new", nil, 0o600) },
			func(dir string) error { return os.WriteFile(dir+"/log", nil, 0o600) },
			func(dir string) error { return os.Mkdir(dir+"/dir", 0o700) },
			func(dir string) error { return os.Remove(dir + "/log") },
			func(dir string) error {
				l, err := net.Listen("unix", dir+"/socket")
				if err == nil {
					l.Close()
				}
				return err
			},
		} {
			if err := try(dirs.Yes); err != nil {
				return fmt.Errorf("in a directory of the options: %w", err)
			}
			if err := try(dirs.No); !errors.Is(err, unix.EACCES) {
				return fmt.Errorf("elsewhere: %v, want EACCES", err)
			}
		}
		// Sixteen layers are all that Landlock has. A process that is upgraded again and again must
		// not use them up.
		for range 20 {
			if r, err = Apply(Options{Level: Auto, Inherited: r.State}); err != nil || r.Missing != nil {
				return fmt.Errorf("again: %+v, %w", r, err)
			}
		}
		return nil
	}
}

// TestWrites: files can be changed only where they have to, and all can be read. The directories
// are in /dev/shm, because /tmp is always writable.
func TestWrites(t *testing.T) {
	if LandlockABI() == 0 {
		t.Skip("needs Landlock")
	}
	var dirs struct{ Yes, No string }
	for _, dir := range []*string{&dirs.Yes, &dirs.No} {
		var err error
		if *dir, err = os.MkdirTemp("/dev/shm", "confine-test-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(*dir) })
	}
	if err := os.WriteFile(dirs.Yes+"/log", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	arg, err := json.Marshal(dirs)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "writes", string(arg))
}

func init() {
	tasks["hello"] = func(string) error { return nil }
	tasks["calls"] = func(string) error {
		defer lockedThreads()()
		r, err := Apply(Options{Level: Strict})
		if err != nil {
			return err
		}
		if !r.Filtered || r.Missing != nil {
			return fmt.Errorf("report %+v", r)
		}
		if err := expect(wanted{"Seccomp", "2"}, wanted{"Seccomp_filters", "1"}); err != nil {
			return err
		}
		for name, call := range map[string]func() error{
			"unshare": func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
			"keyctl":  func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true); return err },
			"ptrace":  func() error { return unix.PtraceAttach(os.Getppid()) },
			"mount":   func() error { return unix.Mount("none", "/nonexistent", "tmpfs", 0, "") },
			"clone":   func() error { _, _, errno := unix.RawSyscall(unix.SYS_CLONE, unix.CLONE_NEWUSER, 0, 0); return errno },
		} {
			if err := call(); !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("%s: %v, want EPERM", name, err)
			}
		}
		if _, _, errno := unix.Syscall(unix.SYS_CLONE3, 0, 0, 0); errno != unix.ENOSYS {
			return fmt.Errorf("clone3: %v, want ENOSYS", errno)
		}
		if out, err := taskCommand("hello", "").CombinedOutput(); err != nil {
			return fmt.Errorf("another process: %w: %s", err, out)
		}
		if _, err := Apply(Options{Level: Strict}); err != nil {
			return err
		}
		return expect(wanted{"Seccomp_filters", "1"})
	}
}

// TestCalls: rare system calls fail on every thread, processes can be started, and there is never a
// second filter.
func TestCalls(t *testing.T) {
	if filtered() {
		t.Skip("needs a process without a seccomp filter")
	}
	run(t, "calls", "")
}

// TestOff: nothing changes.
func TestOff(t *testing.T) { run(t, "off", "") }

func init() {
	tasks["off"] = func(string) error {
		before, err := current()
		if err != nil {
			return err
		}
		no, calls := hasNoNewPrivs(), filtered()
		r, err := Apply(Options{})
		if err != nil {
			return err
		}
		if r.Capabilities != before || r.NoNewPrivs != no || r.Filtered != calls || r.Writes {
			return fmt.Errorf("report %+v", r)
		}
		return nil
	}
}

// TestTry: the user's own permissions decide, and afterwards, the process is root again.
func TestTry(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode, group int) string {
		t.Helper()
		name = filepath.Join(dir, name)
		err := os.WriteFile(name, nil, mode)
		if err == nil {
			err = os.Chown(name, 0, group)
		}
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	all, group, extra, none := write("all", 0o644, 0), write("group", 0o640, 65533), write("extra", 0o640, 65532), write("none", 0o640, 0)
	for range 20 { // on several threads
		if err := nobody.Readable(all, group, extra); err != nil {
			t.Fatal(err)
		}
		err := nobody.Readable(all, none)
		if err == nil || !strings.Contains(err.Error(), "user nobody cannot read "+none+": ") {
			t.Fatalf("error %v", err)
		}
	}
	if nobody.CanCreate(dir) {
		t.Error("a directory of root is writable")
	}
	if err := os.Chmod(dir, 0o777); err != nil || !nobody.CanCreate(dir) {
		t.Errorf("a directory of all is not writable (%v)", err)
	}
	if _, err := os.ReadFile(none); err != nil {
		t.Errorf("root cannot read: %v", err)
	}
	if got, err := status("Uid"); got != "0 0 0 0" {
		t.Errorf("the threads have the users %s (%v)", got, err)
	}
}

func TestCheck(t *testing.T) {
	has, err := current()
	if err != nil {
		t.Fatal(err)
	}
	const unknown = 63
	if err := Check([]Need{{Capability: unknown}}); err != nil {
		t.Errorf("what the process can do without: %v", err)
	}
	err = Check([]Need{{unix.CAP_NET_ADMIN, "listener web: transparent"}, {unknown, "listener db: x"}})
	for c, feature := range map[int]string{unix.CAP_NET_ADMIN: "listener web: transparent needs CAP_NET_ADMIN, ", unknown: "listener db: x needs CAP_63, "} {
		if got := err != nil && strings.Contains(err.Error(), feature); got == has.Has(c) {
			t.Errorf("error %v, and the process has %s", err, has)
		}
	}
}

func TestNames(t *testing.T) {
	if len(names) != unix.CAP_LAST_CAP+1 || Name(unix.CAP_CHECKPOINT_RESTORE) != "CAP_CHECKPOINT_RESTORE" || Name(unix.CAP_NET_ADMIN) != "CAP_NET_ADMIN" {
		t.Errorf("%d names: %s", len(names), names)
	}
	if got := Set(0).String(); got != "none" {
		t.Errorf("no capabilities: %s", got)
	}
}
