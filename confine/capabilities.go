package confine

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Set is a set of capabilities, by the bits of their numbers (capabilities(7)).
type Set uint64

// Need is a capability that a feature needs at run time.
type Need struct {
	Capability int
	// Feature is what needs it, as in "listener web: transparent". "" means that the process can do
	// without.
	Feature string
}

func setOf(needs []Need) (s Set) {
	for _, n := range needs {
		s |= 1 << n.Capability
	}
	return s
}

// Has reports whether a capability is in the set.
func (s Set) Has(capability int) bool { return s&(1<<capability) != 0 }

// names are the capabilities in the order of their numbers.
var names = strings.Fields("chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap " +
	"linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio " +
	"sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease " +
	"audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf " +
	"checkpoint_restore")

// Name is the name of a capability, as in "CAP_NET_ADMIN".
func Name(capability int) string {
	if capability >= len(names) {
		return fmt.Sprintf("CAP_%d", capability)
	}
	return "CAP_" + strings.ToUpper(names[capability])
}

// String lists the names, "none" for an empty set.
func (s Set) String() string {
	var list []string
	for c := range 64 {
		if s.Has(c) {
			list = append(list, strings.ToLower(strings.TrimPrefix(Name(c), "CAP_")))
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ",")
}

// current are the capabilities that the process has.
func current() (Set, error) {
	_, permitted, _, err := capget()
	return permitted, err
}

// Check returns an error for the needs that the process cannot meet: it has neither the
// capabilities, nor could an upgrade get them.
func Check(needs []Need) error {
	has, err := current()
	if err != nil {
		return err
	}
	var failed []error
	for _, n := range needs {
		if n.Feature != "" && !has.Has(n.Capability) {
			failed = append(failed, fmt.Errorf("%s needs %s, which this process does not have: start l4proxy as root or with this capability; "+
				"a running process that has given it up needs a restart", n.Feature, Name(n.Capability)))
		}
	}
	return errors.Join(failed...)
}

// unneeded are what dropFromRoot drops: what changes the machine rather than the network, and what
// looks into other processes. Root keeps the capabilities for files, so that a reload can read and
// bind what it could before.
var unneeded = func() (s Set) {
	for _, c := range []int{
		unix.CAP_LINUX_IMMUTABLE, unix.CAP_NET_BROADCAST, unix.CAP_IPC_OWNER, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO,
		unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE, unix.CAP_SYS_PACCT, unix.CAP_SYS_BOOT, unix.CAP_SYS_TIME,
		unix.CAP_SYS_TTY_CONFIG, unix.CAP_MKNOD, unix.CAP_LEASE, unix.CAP_AUDIT_WRITE, unix.CAP_AUDIT_CONTROL,
		unix.CAP_SETFCAP, unix.CAP_MAC_OVERRIDE, unix.CAP_MAC_ADMIN, unix.CAP_SYSLOG, unix.CAP_WAKE_ALARM,
		unix.CAP_BLOCK_SUSPEND, unix.CAP_AUDIT_READ, unix.CAP_PERFMON, unix.CAP_CHECKPOINT_RESTORE,
		unix.CAP_SYS_ADMIN,
	} {
		s |= 1 << c
	}
	return s
}()

// dropFromRoot drops what no proxy needs from a process that stays root.
func dropFromRoot() error {
	effective, permitted, inheritable, err := capget()
	if err != nil || permitted&unneeded == 0 {
		return err
	}
	if effective.Has(unix.CAP_SETPCAP) { // otherwise execve(2) brings them back
		if err := dropBounding(unneeded); err != nil {
			return err
		}
	}
	return capset(effective&^unneeded, permitted&^unneeded, inheritable&^unneeded)
}

// keepOverExec makes a process without root keep its capabilities over execve(2).
func keepOverExec() error {
	_, permitted, inheritable, err := capget()
	if err != nil || permitted == 0 {
		return err
	}
	if permitted&^inheritable != 0 {
		if err := capset(permitted, permitted, permitted|inheritable); err != nil {
			return err
		}
	}
	return raiseAmbient(permitted)
}

// raiseAmbient makes execve(2) give the capabilities to programs of any user (ambient set).
func raiseAmbient(s Set) error {
	for c := range 64 {
		if !s.Has(c) {
			continue
		}
		if has, _ := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c), 0, 0); has == 1 {
			continue // inherited
		}
		if err := setOnAllThreads(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c)); err != nil {
			return fmt.Errorf("ambient %s: %w", Name(c), err)
		}
	}
	return nil
}

// dropBounding drops capabilities from the set that bounds what execve(2) can give.
func dropBounding(s Set) error {
	for c := range 64 {
		if !s.Has(c) {
			continue
		}
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil || has == 0 {
			continue // the kernel does not know it, or it was dropped before
		}
		if err := setOnAllThreads(unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil {
			return fmt.Errorf("bounding set, %s: %w", Name(c), err)
		}
	}
	return nil
}

func capget() (effective, permitted, inheritable Set, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err = unix.Capget(&header, &data[0]); err != nil {
		return 0, 0, 0, fmt.Errorf("capget: %w", err)
	}
	join := func(low, high uint32) Set { return Set(low) | Set(high)<<32 }
	return join(data[0].Effective, data[1].Effective), join(data[0].Permitted, data[1].Permitted),
		join(data[0].Inheritable, data[1].Inheritable), nil
}

// capset sets the capabilities of all threads.
func capset(effective, permitted, inheritable Set) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capset: %w", errno)
	}
	return nil
}

// setOnAllThreads is prctl(2) on each thread.
func setOnAllThreads(option, a, b uintptr) error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, option, a, b, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
