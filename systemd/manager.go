package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// firstFD is the descriptor of the first socket (SD_LISTEN_FDS_START).
const firstFD = 3

// Manager is the service manager that has started this process. nil means none.
type Manager struct {
	notify   string // path of the notify socket; "" means none
	watchdog time.Duration
	environ  []string
	sockets  []*socket
}

// Take reads what the service manager has put into the environment, and removes it from there, so
// that no child process inherits it.
func Take() (*Manager, error) { return take(os.Getpid(), firstFD) }

func take(pid, first int) (*Manager, error) {
	env := make(map[string]string)
	for _, name := range []string{
		"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
		}
	}
	m := new(Manager)
	if err := m.takeNotify(env, pid); err != nil {
		return nil, err
	}
	if env["LISTEN_PID"] != strconv.Itoa(pid) {
		return m, nil // they were passed to another process, which has not removed the variables
	}
	n, err := strconv.Atoi(env["LISTEN_FDS"])
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%s is not a number of sockets: remove the variable, or start l4proxy with systemd", env["LISTEN_FDS"])
	}
	names := strings.Split(env["LISTEN_FDNAMES"], ":")
	for i := range n {
		s := &socket{fd: first + i}
		if i < len(names) {
			s.setName(names[i])
		}
		if err := s.look(); err != nil {
			return nil, err
		}
		m.sockets = append(m.sockets, s)
	}
	return m, nil
}

func (m *Manager) takeNotify(env map[string]string, pid int) error {
	m.notify = env["NOTIFY_SOCKET"]
	if m.notify == "" {
		return nil
	}
	if m.notify[0] != '/' && m.notify[0] != '@' {
		return fmt.Errorf("NOTIFY_SOCKET=%s is not the path of a unix socket: remove the variable, or start l4proxy with systemd", m.notify)
	}
	m.environ = []string{"NOTIFY_SOCKET=" + m.notify}
	usec := env["WATCHDOG_USEC"]
	if of := env["WATCHDOG_PID"]; usec == "" || of != "" && of != strconv.Itoa(pid) {
		return nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 {
		return fmt.Errorf("WATCHDOG_USEC=%s is not a number of microseconds: remove the variable, or start l4proxy with systemd", usec)
	}
	m.watchdog = time.Duration(min(n, int64(24*time.Hour/time.Microsecond))) * time.Microsecond
	m.environ = append(m.environ, "WATCHDOG_USEC="+usec)
	return nil
}

// Environ returns the variables for a process that will take the place of this one, so that it can
// speak with the service manager too. They name no process, and no sockets.
func (m *Manager) Environ() []string {
	if m == nil {
		return nil
	}
	return m.environ
}
