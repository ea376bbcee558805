package systemd

import (
	"net/url"
	"strings"
)

// The file descriptor store keeps listening sockets in the service manager. If the process crashes,
// clients wait in their queues until the next process takes the sockets (FileDescriptorStoreMax= in
// systemd.service(5)).

// storedPrefix marks the names of stored sockets: the rest is the name of the listener.
const storedPrefix = "stored."

// storedName is the name of the stored sockets of a listener. In FDNAME=, only ASCII is valid, and
// no colon: systemd would store the sockets under another name, and never remove them
// (sd_pid_notify_with_fds(3)).
func storedName(listener string) string { return storedPrefix + url.QueryEscape(listener) }

// storedListener is the inverse of storedName.
func storedListener(name string) (listener string, stored bool) {
	if name, stored = strings.CutPrefix(name, storedPrefix); stored {
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
	}
	return name, stored
}

// maxRights is the most descriptors that one message can carry (SCM_RIGHTS, unix(7)).
const maxRights = 253

// Store stores the listening sockets of a listener. The descriptors still belong to the caller.
func (m *Manager) Store(listener string, fds []int) error {
	for len(fds) > 0 {
		n := min(len(fds), maxRights)
		// Without FDPOLL=0, systemd would watch the sockets, and drop those that shutdown(2) has
		// closed for new clients.
		if err := m.send(fds[:n], "FDSTORE=1", "FDNAME="+storedName(listener), "FDPOLL=0"); err != nil {
			return err
		}
		fds = fds[n:]
	}
	return nil
}

// Unstore removes the sockets of a listener from the store.
func (m *Manager) Unstore(listener string) error {
	return m.Notify("FDSTOREREMOVE=1", "FDNAME="+storedName(listener))
}
