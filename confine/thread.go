package confine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setThreadGroups sets the supplementary groups of this thread alone.
func setThreadGroups(groups []int) error {
	list := make([]uint32, len(groups)+1) // never empty, so that it has an address
	for i, g := range groups {
		list[i] = uint32(g)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0])), 0); errno != 0 {
		return errno
	}
	return nil
}

// setThreadID is setfsuid(2) or setfsgid(2), which return the old value, whether or not they have
// changed it.
func setThreadID(call uintptr, id int) (before int) {
	r, _, _ := unix.RawSyscall(call, uintptr(id), 0, 0)
	return int(r)
}
