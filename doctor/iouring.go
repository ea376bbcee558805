package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"l4proxy/config"
	"l4proxy/eventloop"
)

func ioUring(f *Facts) []Finding {
	if f.Config != nil && f.Config.Engine == config.EngineEpoll {
		return nil
	}
	err := f.TryIOUring()
	if err == nil {
		if f.Status != nil && f.Status.Engine == eventloop.Epoll {
			return []Finding{{
				Level: Note, Found: "io_uring works here, but the running proxy uses epoll",
				Why: "Its unit or container forbids it: epoll serves the same clients with more CPU time.",
				Do:  "look for the reason in its log line \"io_uring unavailable\", and allow it there",
			}}
		}
		return fine("works")
	}
	level, why := Note, "The proxy falls back to epoll, which serves the same clients with more CPU time."
	if f.Config != nil && f.Config.Engine == config.EngineIOURing {
		level, why = Problem, "The proxy does not start with engine: io_uring."
	}
	cause, do := f.whyNoRing(err)
	return []Finding{{Level: level, Found: "not available: " + cause, Why: why, Do: do}}
}

// whyNoRing finds what has made a ring fail with an error, and what to do about it.
func (f *Facts) whyNoRing(err error) (cause, do string) {
	release := f.text("proc/sys/kernel/osrelease")
	disabled, _ := f.sysctl("kernel.io_uring_disabled")
	locked, _, known := f.limit("Max locked memory")
	switch {
	case release != "" && !atLeast(release, 6, 1):
		return "kernel " + release, "use Linux 6.1 or newer; or set engine: epoll to keep this check quiet"
	case disabled == 2 || disabled == 1 && !f.capable(capSysAdmin):
		return fmt.Sprintf("kernel.io_uring_disabled is %d", disabled), setSysctl("kernel.io_uring_disabled", 0)
	case f.status("Seccomp") == "2":
		return "a seccomp filter is active",
			"allow io_uring_setup, io_uring_enter and io_uring_register in the profile (docker run --security-opt seccomp=FILE; SystemCallFilter=@system-service in systemd)"
	case known && locked < ringMemory*int64(f.workers()) && !f.capable(capIPCLock):
		return fmt.Sprintf("%d KiB of locked memory are allowed", locked>>10), f.setLimit("LimitMEMLOCK", 8<<20, "-l", "memlock")
	}
	return err.Error(), "set engine: epoll to keep this check quiet"
}

// ringMemory is the locked memory of one ring.
const ringMemory = 256 << 10

// atLeast compares the release of a kernel, such as 6.1.0-13-amd64.
func atLeast(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return true
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}
