package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TCP are options of the TCP sockets of a listener or of a pool. The zero value of a field leaves
// the option at what the reference says.
type TCP struct {
	// Congestion is an algorithm of congestion control.
	Congestion string
	// UserTimeout is how long sent bytes may stay unacknowledged.
	UserTimeout time.Duration
	// KeepAlive is nil if the key is left out.
	KeepAlive *KeepAlive
	// FastOpen is of listeners only.
	FastOpen bool
	MPTCP    bool
	// NotSentLowat is in bytes.
	NotSentLowat int
	NoDelay      bool
	Mark         uint32
	TOS          uint8
}

const (
	shortestUserTimeout = time.Second
	longestUserTimeout  = 24 * time.Hour // TCP_USER_TIMEOUT is an int of milliseconds
	maxNotSent          = 1 << 30
)

func (t *TCP) fields() fields {
	return fields{
		{"congestion", text(&t.Congestion, "the name of an algorithm").where(checkCongestion), "The congestion control, such as `bbr`. If omitted, that of the sysctl net.ipv4.tcp_congestion_control."},
		{"user_timeout", bounded(duration(&t.UserTimeout), shortestUserTimeout, longestUserTimeout),
			"End a connection if sent bytes, or keepalive probes, are not acknowledged for that long, 1s to 24h. A peer that answers probes but does not read is kept. If omitted, `keepalive.idle` + `keepalive.count` × `keepalive.interval`, which is 2m by default. A connection that uses MPTCP does not have it."},
		{"keepalive", pointer(&t.KeepAlive, func(k *KeepAlive) value { return shorthand[*KeepAlive]{structureOf(k)} }),
			"The probes that detect a vanished peer: the value of `idle`, or a mapping with the keys below."},
		{"fast_open", boolean(&t.FastOpen, false), "For listeners only: accept data in the first packet (TCP Fast Open, RFC 7413). Such data may arrive twice: use it only for protocols that tolerate a repeated first request. The sysctl net.ipv4.tcp_fastopen has to allow it."},
		{"mptcp", boolean(&t.MPTCP, false), "Use Multipath TCP (RFC 8684) with peers that have it, and TCP with all others."},
		{"notsent_lowat", byteCount(&t.NotSentLowat, maxNotSent), "The most bytes that wait in a socket's send buffer before they are sent the first time, such as `128KiB`, up to 1GiB. Lower values make a slow reader hold back its sender sooner. If omitted, there is no limit beside the buffer."},
		{"nodelay", boolean(&t.NoDelay, true), "Send small segments at once. `false` lets the kernel gather them (Nagle's algorithm)."},
		{"mark", socketMark(&t.Mark), "The mark of the packets (SO_MARK), for routing rules and firewalls: 1 to 4294967295, or hexadecimal, as in `\"0x10\"`. Requires CAP_NET_ADMIN."},
		{"tos", tos(&t.TOS), "The DS field of the packets (IP_TOS, IPV6_TCLASS), 4 to 252, a multiple of 4, or hexadecimal, as in `\"0xb8\"`."},
	}
}

// KeepAlive are the probes that detect a peer that has vanished.
type KeepAlive struct {
	Idle, Interval time.Duration // whole seconds
	Count          int
}

const (
	longestKeepAlive = 32767 * time.Second // MAX_TCP_KEEPIDLE, include/net/tcp.h in the kernel
	maxKeepCount     = 127                 // MAX_TCP_KEEPCNT
)

func (k *KeepAlive) fields() fields {
	return fields{
		{"idle", wholeSeconds(duration(&k.Idle).def("1m")), "How long no byte may move before the first probe, in whole seconds, up to 32767s."},
		{"interval", wholeSeconds(duration(&k.Interval).def("15s")), "The time between two probes, in whole seconds, up to 32767s."},
		{"count", integer(&k.Count, 1, maxKeepCount).def("4"), "How many probes may stay unanswered, 1 to 127. With `user_timeout`, that decides."},
	}
}

// check finds options that do nothing, or that only listeners can have.
func (t *TCP) check(c *checker, at *path, listener bool) {
	c.refuse(t.FastOpen && !listener, at.child("fast_open"), "remove it, or write it in a listener",
		"tcp.fast_open is for listeners: a dial with it would succeed before the backend has answered, and a refusal could not be retried with another backend")
	c.refuse(t.KeepAlive != nil && t.UserTimeout > 0 && t.UserTimeout <= t.KeepAlive.Idle, at.child("user_timeout"), "write a longer one, or a shorter keepalive.idle",
		"tcp.user_timeout must be longer than tcp.keepalive.idle, which is %v: the first probe would end the connection", t.KeepAlive.idle())
}

func (k *KeepAlive) idle() time.Duration {
	if k == nil {
		return 0
	}
	return k.Idle
}

func checkCongestion(name string) *Fault {
	if name == "" || len(name) > 15 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return faultf("write one such as bbr or cubic", "%s is not the name of a congestion control", quote(name))
	}
	return nil
}

// bounded refuses durations outside of low and high.
func bounded(v durationValue, low, high time.Duration) durationValue {
	v = v.min(low)
	bounds := v.bounds
	v.bounds = func(value time.Duration) *Fault {
		if value > high {
			return faultf(fmt.Sprintf("write at most %q", showDuration(high)), "longer than %v: %v", showDuration(high), value)
		}
		return bounds(value)
	}
	return v
}

// wholeSeconds refuses parts of seconds, which the kernel does not have here.
func wholeSeconds(v durationValue) durationValue {
	v = bounded(v, time.Second, longestKeepAlive)
	bounds := v.bounds
	v.bounds = func(value time.Duration) *Fault {
		if value > time.Second && value%time.Second != 0 {
			return faultf(fmt.Sprintf("write %q", value.Round(time.Second)), "not a whole number of seconds: %v", value)
		}
		return bounds(value)
	}
	return v
}

// byteUnits are the units of a number of bytes.
var byteUnits = []struct {
	name string
	size int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// byteCount is a number of bytes from 1 on, such as "16KiB" or 16384.
func byteCount(dst *int, most int) value {
	return scalar[int]{
		dst: dst, as: asString | asNumber, what: `a number of bytes such as 16384 or "16KiB"`,
		typ: func() schema {
			return anyOf(textLike(`^[1-9][0-9]*([KMG]iB)?$`)(), schema{"type": "integer", "minimum": 1})
		},
		show: func(n int) string {
			for _, unit := range byteUnits {
				if n%unit.size == 0 {
					return strconv.Itoa(n/unit.size) + unit.name
				}
			}
			return strconv.Itoa(n)
		},
		parse: func(text string) (int, *Fault) {
			size := 1
			for _, unit := range byteUnits {
				if number, ok := strings.CutSuffix(text, unit.name); ok {
					text, size = number, unit.size
					break
				}
			}
			n, err := strconv.ParseUint(text, 10, 31)
			if err != nil || text[0] == '+' {
				return 0, unreadable("write a whole number, alone or with KiB, MiB or GiB")
			}
			return int(n) * size, nil
		},
		bounds: func(n int) *Fault {
			if n < 1 || n > most {
				return faultf("write one within these bounds, or remove it", "a number of bytes from 1 to %d is expected here, got %d", most, n)
			}
			return nil
		},
	}
}

// hexNumber is a number that may be hexadecimal in a string.
func hexNumber[T uint8 | uint32](dst *T, low, high T, what string) scalar[T] {
	return scalar[T]{
		dst: dst, as: asString | asNumber, what: what,
		typ: func() schema {
			return anyOf(schema{"type": "integer", "minimum": low, "maximum": high}, textLike(`^(0x[0-9a-fA-F]+|[0-9]+)$`)())
		},
		parse: func(text string) (T, *Fault) {
			base, digits := 10, text
			if hex, ok := strings.CutPrefix(text, "0x"); ok {
				base, digits = 16, hex
			}
			n, err := strconv.ParseUint(digits, base, 32)
			if err != nil || uint64(T(n)) != n {
				return 0, unreadable("")
			}
			return T(n), nil
		},
		bounds: func(n T) *Fault {
			if n < low || n > high {
				return unreadable("")
			}
			return nil
		},
	}
}

func socketMark(dst *uint32) value {
	return hexNumber(dst, 1, 1<<32-1, `a mark from 1 to 4294967295, or one such as "0x10"`)
}

const ecnBits = 3 // of the DS field, RFC 3168 section 5: they belong to the kernel

func tos(dst *uint8) value {
	v := hexNumber(dst, 4, 252, `a multiple of 4 from 4 to 252, or one such as "0xb8"`)
	bounds := v.bounds
	v.bounds = func(n uint8) *Fault {
		if n&ecnBits != 0 {
			return faultf(fmt.Sprintf("write %d", max(4, n&^ecnBits)), "the lowest two bits of %d belong to ECN (RFC 3168)", n)
		}
		return bounds(n)
	}
	return v
}
