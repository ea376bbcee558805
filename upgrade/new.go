package upgrade

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// greetPatience is how long the new process waits for the old one, which has just started it.
const greetPatience = 10 * time.Second

// Session is an upgrade on the side of the new process.
type Session struct {
	*link
	old  hello
	bulk Bulk
}

// Join begins the upgrade for which this process was started; nil, nil if it was started otherwise.
// Processes that this one starts are not part of it: the variable is unset.
func Join(version string) (*Session, error) {
	value, ok := os.LookupEnv(Variable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, err
	}
	l, err := inheritedLink(value)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w: only an upgrade sets this variable; unset it", Variable, value, err)
	}
	s := &Session{link: l}
	if err := s.greet(version); err != nil {
		l.close()
		return nil, err
	}
	return s, nil
}

// inheritedLink takes over the descriptor that Variable names.
func inheritedLink(value string) (*link, error) {
	fd, err := strconv.Atoi(value)
	if err != nil || fd < firstExtra {
		return nil, errors.New("not the descriptor of an upgrade")
	}
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
		return nil, fmt.Errorf("descriptor %d is not a unix socket", fd)
	}
	unix.CloseOnExec(fd)
	return newLink(os.NewFile(uintptr(fd), "upgrade"))
}

func (s *Session) greet(version string) error {
	s.until(time.Now().Add(greetPatience))
	mine := hello{formats: spoken(), Version: version, PID: os.Getpid(), Next: testFormats}
	err := s.send(kindHello, mine, nil)
	var f *frame
	if err == nil {
		f, err = s.receive()
	}
	if err == nil {
		closeAll(f.fds)
		err = f.as(kindHello, &s.old)
	}
	if err != nil {
		return fmt.Errorf("upgrade: no hello from the old process: %w", err)
	}
	if _, err := s.old.common(mine.formats); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if err := s.receiveBulk(); err != nil {
		return err
	}
	s.until(time.Time{}) // the old process sets the deadlines
	return nil
}

// OldPID and OldVersion are those of the old process.
func (s *Session) OldPID() int        { return s.old.PID }
func (s *Session) OldVersion() string { return s.old.Version }

// Early is state of the old process for the check of the configuration.
func (s *Session) Early() State { return s.old.Early }

// Refuse says why this process does not take over, and ends the session. The old process logs it.
func (s *Session) Refuse(why error) {
	_ = s.send(kindRefused, refused{Reason: why.Error()}, nil) // the old process may have ended
	s.close()
}

// Take says that everything which is slow or may fail is done, and returns what the old process
// hands over, which has stopped accepting. This process has to be quick now, and call Ready.
func (s *Session) Take() (*Sockets, State, error) {
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // 0 is not checked
	if err := s.send(kindChecked, checked{FileLimit: limit.Cur}, nil); err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	taken := new(Sockets)
	for {
		state, err := s.takeNext(taken)
		if err != nil {
			taken.Close()
			return nil, nil, fmt.Errorf("upgrade: the old process handed over no sockets: %w", err)
		}
		if state != nil {
			return taken, state, nil
		}
	}
}

// takeNext receives sockets, or the state, which comes last.
func (s *Session) takeNext(taken *Sockets) (State, error) {
	f, err := s.receive()
	if err != nil {
		return nil, err
	}
	if f.kind == kindState {
		closeAll(f.fds)
		state := State{}
		return state, f.as(kindState, &state)
	}
	var message sockets
	if err := f.as(kindSockets, &message); err != nil {
		closeAll(f.fds)
		return nil, err
	}
	if f.lost || len(message.Sockets) != len(f.fds) {
		closeAll(f.fds)
		err := fmt.Errorf("%d of %d sockets arrived: raise the limit of open files (LimitNOFILE=, ulimit -n)",
			len(f.fds), len(message.Sockets))
		return nil, errors.Join(err, s.send(kindAck, ack{Seq: message.Seq, Error: err.Error()}, nil))
	}
	for i, e := range message.Sockets {
		taken.all = append(taken.all, Socket{Kind: e.Kind, Name: e.Name, Bind: e.Bind, FD: f.fds[i], KeepFile: e.KeepFile})
	}
	return nil, s.send(kindAck, ack{Seq: message.Seq}, nil)
}

// Ready says that this process accepts clients. From now on it serves, whatever becomes of the old
// one.
func (s *Session) Ready() error {
	if err := s.send(kindReady, nil, nil); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return nil
}
