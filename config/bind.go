package config

import (
	"fmt"
	"iter"
	"strings"
)

// Bind is one or more addresses to listen on: more when it ends in a range of ports.
type Bind struct {
	Address
	// Last is the last port of the range; 0 is Port.
	Last uint16
	BindOptions
}

// BindOptions are the options of the listening sockets of a [Bind].
type BindOptions struct {
	// Transparent accepts clients that a TPROXY rule has sent here.
	Transparent bool
	// V6Only is of [::] only.
	V6Only V6Only
	// Interface is the name of the only network interface that clients may come from; "" is all.
	Interface string
	// Backlog is the length of the queue of the kernel; 0 is its maximum.
	Backlog int
	// Socket is of a unix socket. Its zero value leaves it to that of the listener.
	Socket Socket
}

// V6Only says whether [::] is for IPv6 only.
type V6Only uint8

// With V6Auto, it is if a listener has 0.0.0.0 with the same port.
const (
	V6Auto V6Only = iota
	V6Yes
	V6No
)

func (v V6Only) String() string { return [...]string{"", "true", "false"}[min(v, V6No)] }

// Addresses returns the addresses one by one.
func (b Bind) Addresses() iter.Seq[Address] {
	return func(yield func(Address) bool) {
		a := b.Address
		for port := int(b.Port); port <= max(int(b.Port), int(b.Last)); port++ {
			a.Port = uint16(port)
			if !yield(a) {
				return
			}
		}
	}
}

func (b Bind) String() string {
	text := b.Address.String()
	if b.Last > b.Port {
		text += fmt.Sprintf("-%d", b.Last)
	}
	return text
}

// count is how many addresses b has.
func (b Bind) count() int { return max(int(b.Last)-int(b.Port), 0) + 1 }

const maxBacklog = 65535

func (b *Bind) fields() fields {
	return fields{
		{"address", requiredValue{bindAddress{bind(b)}, `write address: ":8080"`},
			"`host:port`, `\"[::]:port\"`, `\"host:8000-8010\"`, `unix:/path` or `unix:@name`; see [Addresses](#addresses)."},
		{"transparent", boolean(&b.Transparent, false), "Accept clients that a TPROXY rule of the firewall has sent here, for any address; see [Transparent mode](edge.md#transparent-mode). Requires CAP_NET_ADMIN."},
		{"v6only", v6only(&b.V6Only), "For `[::]` only: `true` accepts IPv6 clients only, `false` IPv4 clients too. If omitted, IPv4 clients too, unless a listener has `0.0.0.0` with the same port."},
		{"interface", interfaceName(&b.Interface), "Accept clients on this network interface only (SO_BINDTODEVICE). If omitted, on all."},
		{"backlog", integer(&b.Backlog, 1, maxBacklog), "The maximum number of clients that wait in the kernel to be accepted, 1 to 65535. If omitted, 65535. The kernel lowers it to the sysctl net.core.somaxconn."},
		{"mode", mode(&b.Socket.Mode), "The permissions of this unix socket, in octal, instead of the listener's `mode`."},
		{"owner", owner(&b.Socket.Owner), "The owner of this unix socket, instead of the listener's `owner`."},
	}
}

// bindValue is one entry in a list of addresses to listen on.
type bindValue struct{ shorthand[*Bind] }

func binds(dst *Bind) value { return bindValue{shorthand[*Bind]{structureOf(dst)}} }

// The table of keys is not made for an address alone: that would take most of the time of a file
// with ten thousand listeners.

func (v bindValue) reset() { *v.of = Bind{} }

func (v bindValue) decode(d *decoder, n *node, p *path) {
	if n.kind != kindMap {
		bindAddress{bind(v.of)}.decode(d, n, p)
		return
	}
	v.structure.decode(d, n, p)
	if n.member("address") == nil {
		d.faultf(n, p.child("address"), `write address: ":8080"`, "address is missing")
	}
}

// check reports what is wrong with an address at the path of the entry, where most are written.
func (v bindValue) check(c *checker, p *path) {
	bind(v.of).check(c, p)
	if v.of.BindOptions == (BindOptions{}) {
		return
	}
	for _, f := range v.fields()[1:] {
		f.value.check(c, p.child(f.key))
	}
	v.of.check(c, p)
}

func (v bindValue) current() string {
	if v.of.BindOptions == (BindOptions{}) {
		return v.of.String()
	}
	return v.shorthand.current()
}

// bindAddress is the address in a mapping with options, which are kept. Every value is an address:
// the zero value is ":0".
type bindAddress struct{ scalar[Bind] }

func (v bindAddress) reset() { v.dst.Address, v.dst.Last = Address{}, 0 }

func (bindAddress) empty() bool { return false }

func (v bindAddress) decode(d *decoder, n *node, p *path) {
	options := v.dst.BindOptions
	v.scalar.decode(d, n, p)
	v.dst.BindOptions = options
}

// plain is the address, also if it is the zero value.
func (v bindAddress) plain() any { return v.dst.String() }

func (v bindAddress) current() string { return v.dst.String() }

// check finds options that the address cannot have.
func (b *Bind) check(c *checker, at *path) {
	const noUnix = "%s is not for a unix socket"
	unix := b.IsUnix()
	c.refuse(b.Transparent && unix, at.child("transparent"), "remove it", noUnix, "transparent")
	c.refuse(b.Interface != "" && unix, at.child("interface"), "remove it", noUnix, "interface")
	every6 := b.IP.IsValid() && b.IP.IsUnspecified() && b.IP.Is6()
	c.refuse(b.V6Only != V6Auto && !every6, at.child("v6only"), fmt.Sprintf("remove it, or write address: \"[::]:%d\"", b.Port), "v6only is for [::] only")
	const fix = "remove it, or write address: unix:/path"
	c.refuse(b.Socket.Owner != (Owner{}) && !unix, at.child("owner"), fix, "owner requires a unix socket")
	c.refuse(b.Socket.Mode != 0 && !unix, at.child("mode"), fix, "mode requires a unix socket")
	const noFile = "an abstract unix socket has no file, so %s has no effect: any process in the network namespace can connect"
	c.refuse(b.Socket.Owner != (Owner{}) && b.IsAbstract(), at.child("owner"), fix, noFile, "owner")
	c.refuse(b.Socket.Mode != 0 && b.IsAbstract(), at.child("mode"), fix, noFile, "mode")
}

func v6only(dst *V6Only) value {
	return scalar[V6Only]{
		dst: dst, as: asBool, what: "true or false",
		typ: func() schema { return schema{"type": "boolean"} },
		parse: func(text string) (V6Only, *Fault) {
			switch text {
			case "true":
				return V6Yes, nil
			case "false":
				return V6No, nil
			}
			return V6Auto, unreadable("write true or false, without quotes")
		},
	}
}

const maxInterfaceName = 15 // IFNAMSIZ is 16 bytes with its NUL, netdevice(7)

// interfaceName is the name of a network interface. Whether it exists is checked at startup.
func interfaceName(dst *string) value {
	return text(dst, "the name of a network interface").where(func(name string) *Fault {
		switch {
		case name == "" || name == "." || name == ".." || strings.ContainsAny(name, " \t\n/:"):
			return faultf("write one such as eth0", "%s is not the name of a network interface", quote(name))
		case len(name) > maxInterfaceName:
			return faultf("write a shorter one", "the name %s of a network interface is longer than %d bytes", quote(name), maxInterfaceName)
		}
		return nil
	})
}

func bind(dst *Bind) scalar[Bind] {
	return scalar[Bind]{dst: dst, as: asString, what: whatAddress, typ: anyText, parse: parseBind,
		bounds: func(b Bind) *Fault {
			switch {
			case b.SRV:
				return serviceToListenOn(b.Address)
			case b.Last != 0 && b.Last < b.Port:
				return noRange(fmt.Sprintf("%d-%d", b.Port, b.Last))
			}
			return checkAddress(b.Address)
		}}
}

func parseBind(s string) (Bind, *Fault) {
	if name, ok := strings.CutPrefix(s, srvPrefix); ok {
		return Bind{}, serviceToListenOn(Address{Host: name, SRV: true})
	}
	a, ports, f := splitAddress(s, ":")
	if f != nil || a.IsUnix() {
		return Bind{Address: a}, f
	}
	low, high, isRange := strings.Cut(ports, "-")
	b := Bind{Address: a}
	if b.Port, f = parsePort(low, ports); f != nil {
		return Bind{}, f
	}
	if !isRange {
		return b, nil
	}
	b.Last, f = parsePort(high, ports)
	switch {
	case f != nil:
	case b.Port == 0:
		f = faultf("begin the range at 1 or above, as in 8000-8010", "the range %s contains port 0, for which the system chooses a port", quote(ports))
	case b.Last < b.Port:
		f = noRange(ports)
	}
	return b, f
}

func noRange(ports string) *Fault {
	return faultf("write the lower port first, as in 8000-8010", "%s is not a range of ports", quote(ports))
}
