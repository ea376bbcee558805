package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// link is the socket between the two processes. One goroutine sends and one receives.
//
// It is a stream, since a message may be larger than a datagram socket's buffer. Descriptors travel
// with the header, which is sent by a call of its own: the kernel never joins data from before and
// after descriptors in one read.
type link struct {
	conn *net.UnixConn
}

// pair makes both ends. The file is for the new process.
func pair() (*link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	l, err := newLink(os.NewFile(uintptr(fds[0]), "upgrade"))
	if err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	return l, os.NewFile(uintptr(fds[1]), "upgrade"), nil
}

// newLink takes over the file.
func newLink(file *os.File) (*link, error) {
	defer file.Close() // FileConn has its own descriptor
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("not a unix socket")
	}
	return &link{u}, nil
}

func (l *link) close() { _ = l.conn.Close() }

// until sets the deadline of all that follows; the zero value means none.
func (l *link) until(deadline time.Time) { _ = l.conn.SetDeadline(deadline) }

// Sending descriptors fails with ETOOMANYREFS while a process without CAP_SYS_RESOURCE has more on
// their way than it may have open (unix(7)). Other programs of the same user count too.
const (
	refsPatience = 50
	refsRetry    = 10 * time.Millisecond
)

// send sends a message; body is its JSON, nil for none. The descriptors stay with the caller.
func (l *link) send(k kind, body any, raw []byte, fds ...int) error {
	f := &frame{kind: k, raw: raw, fds: fds}
	if body != nil {
		var err error
		if f.json, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%v: %w", k, err)
		}
	}
	if _, err := parseHeader(f.header()); err != nil { // the receiver would refuse it
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := l.conn.WriteMsgUnix(f.header(), rights, nil)
	for try := 0; errors.Is(err, unix.ETOOMANYREFS) && try < refsPatience; try++ {
		time.Sleep(refsRetry)
		_, _, err = l.conn.WriteMsgUnix(f.header(), rights, nil)
	}
	if errors.Is(err, unix.ETOOMANYREFS) {
		return fmt.Errorf("cannot send %v: %w: raise the limit of open files (LimitNOFILE=, ulimit -n)", k, err)
	}
	if err == nil {
		_, err = (&net.Buffers{f.json, f.raw}).WriteTo(l.conn)
	}
	if err != nil {
		return fmt.Errorf("cannot send %v: %w", k, err)
	}
	return nil
}

// receive returns the next message that this version knows. Its descriptors belong to the caller.
func (l *link) receive() (*frame, error) {
	for {
		f, err := l.next()
		if err != nil {
			return nil, err
		}
		if f.kind&optional == 0 {
			return f, nil
		}
		closeAll(f.fds)
	}
}

func (l *link) next() (*frame, error) {
	header := make([]byte, headerSize)
	rights := make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, rightsLength, flags, _, err := l.conn.ReadMsgUnix(header, rights)
	if err != nil {
		return nil, err
	}
	f := new(frame)
	if f.fds, err = parseRights(rights[:rightsLength]); err == nil {
		_, err = io.ReadFull(l.conn, header[n:])
	}
	var announced lengths
	if err == nil {
		announced, err = parseHeader(header)
	}
	if err != nil {
		closeAll(f.fds)
		return nil, err
	}
	f.kind = announced.kind
	if flags&unix.MSG_CTRUNC != 0 || len(f.fds) != announced.fds {
		f.lost = true
		closeAll(f.fds)
		f.fds = nil
	}
	// Memory grows with what arrives, not with what is announced.
	length := announced.json + announced.bytes
	body, err := io.ReadAll(io.LimitReader(l.conn, int64(length)))
	if err == nil && len(body) < length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		closeAll(f.fds)
		return nil, err
	}
	f.json, f.raw = body[:announced.json:announced.json], body[announced.json:]
	return f, nil
}

// parseRights returns the descriptors of a message. They are close-on-exec: net asks for
// MSG_CMSG_CLOEXEC.
func parseRights(control []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		some, err := unix.ParseUnixRights(&messages[i])
		fds = append(fds, some...)
		if err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// as decodes the JSON of a message of the wanted kind. Another kind is an error.
func (f *frame) as(want kind, into any) error {
	if f.kind != want {
		return fmt.Errorf("received %v instead of %v", f.kind, want)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(f.json, into); err != nil {
		return fmt.Errorf("%v: %w", f.kind, err)
	}
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		rawsys.Close(fd)
	}
}
