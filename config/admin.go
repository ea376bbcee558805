package config

import (
	"fmt"
	"strings"
)

// Admin is the address at which a running proxy answers and takes commands.
type Admin struct {
	// Bind is one address. Without a token, it is a loopback address or a unix socket.
	Bind Address
	// Socket applies if Bind is a unix socket.
	Socket Socket
	// Token is what a client has to present; "" is none.
	Token Secret
}

// Secret is a text that no log and no message shows.
type Secret string

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the text from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const (
	maxToken = 1024
	// goodToken is the shortest token that is not reported as short.
	goodToken = 16

	adminEnv = "L4PROXY_ADMIN"
	tokenEnv = "L4PROXY_ADMIN_TOKEN"
)

func (a *Admin) fields() fields {
	return fields{
		{"bind", required(adminAddress(&a.Bind), "write bind: 127.0.0.1:9901"),
			"`host:port` or `unix:/path`. Every process on this machine can reach a loopback address."},
		{"token", secretValue{scalar[Secret]{
			dst: &a.Token, as: asString, what: "a string", typ: anyText,
			parse:  func(text string) (Secret, *Fault) { return Secret(text), checkToken(text) },
			bounds: func(s Secret) *Fault { return checkToken(string(s)) },
		}}, "The secret that clients have to send. Required unless `bind` is a loopback address or a unix socket; see [the admin address](operations.md#the-admin-address)."},
		{"mode", mode(&a.Socket.Mode), "The permissions of the unix socket, in octal. Any process that may connect can read and change everything. If omitted, `\"0600\"`."},
		{"owner", owner(&a.Socket.Owner), "The owner of the unix socket, as for a listener."},
	}
}

// adminAddress is an address to listen on, without a range of ports.
func adminAddress(dst *Address) scalar[Address] {
	return scalar[Address]{dst: dst, as: asString, what: whatAddress, typ: anyText, bounds: checkAddress,
		parse: func(s string) (Address, *Fault) {
			b, f := parseBind(s)
			if f == nil && b.Last != 0 {
				f = faultf("write one port", "the admin address has one port, got %s", quote(s))
			}
			return b.Address, f
		}}
}

// checkToken rejects a text that an HTTP header cannot hold (RFC 9110 section 5.5). It never shows
// the text.
func checkToken(text string) *Fault {
	switch {
	case text == "":
		return faultf("set it to a long random text, such as the output of: openssl rand -hex 32", "the token is empty")
	case len(text) > maxToken:
		return faultf("write a shorter one", "the token is longer than %d bytes", maxToken)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return faultf("use ASCII letters, digits and punctuation", "the token contains a space, a line end or a character that is not ASCII")
	}
	return nil
}

// secretValue is a text that is not repeated when it is wrong.
type secretValue struct{ scalar[Secret] }

func (v secretValue) decode(d *decoder, n *node, p *path) {
	switch n.kind {
	case kindString:
		v.scalar.decode(d, n, p)
	case kindNull:
		d.fault(n, p, checkToken(""))
	case kindNumber, kindBool:
		d.faultf(n, p, "write it in quotes", "expected a string")
	default:
		d.faultf(n, p, "write one value", "expected a string")
	}
}

// current is the text itself, so that a change is found. Those that show it hide it.
func (v secretValue) current() string { return string(*v.dst) }

// IsLoopback reports whether only this machine can reach the address: a unix socket, a loopback
// address, or the name localhost (RFC 6761 section 6.3).
func (a Address) IsLoopback() bool {
	return a.IsUnix() || a.IP.Unmap().IsLoopback() || strings.TrimSuffix(a.Host, ".") == "localhost"
}

// admin checks the rules that involve several values of the admin address.
func (c *checker) admin(a *Admin) {
	at := newPath("admin")
	if a.Bind == (Address{}) || !c.clear(at, "bind") {
		return
	}
	const fix = "remove it, or write bind: unix:/path"
	c.refuse(!a.Bind.IsUnix() && a.Socket.Owner != (Owner{}), at.child("owner"), fix, "owner requires a unix socket in bind")
	c.refuse(!a.Bind.IsUnix() && a.Socket.Mode != 0, at.child("mode"), fix, "mode requires a unix socket in bind")
	const noFile = "an abstract unix socket has no file, so %s has no effect: any process in the network namespace can connect"
	c.refuse(a.Bind.IsAbstract() && a.Socket.Owner != (Owner{}), at.child("owner"), fix, noFile, "owner")
	c.refuse(a.Bind.IsAbstract() && a.Socket.Mode != 0, at.child("mode"), fix, noFile, "mode")
	if !c.clear(at, "token") {
		return
	}
	switch {
	case a.Token == "" && !a.Bind.IsLoopback():
		c.faultf(at.child("bind"), fmt.Sprintf("write token: ${ADMIN_TOKEN}, or bind: 127.0.0.1:%d", a.Bind.Port),
			"the admin address %s is not a loopback address, and requires a token", a.Bind)
	case a.Token != "" && len(a.Token) < goodToken:
		f := faultf("write a long random text, such as the output of: openssl rand -hex 32",
			"the token is shorter than %d characters, and can be guessed", goodToken)
		f.Path = at.child("token").String()
		c.warnings = append(c.warnings, *f)
	}
}

// adminEnv applies the variables that override the admin section. An empty one counts as unset.
func (d *decoder) adminEnv(c *Config) {
	for _, v := range []struct{ name, key string }{{adminEnv, "bind"}, {tokenEnv, "token"}} {
		text, _ := d.env(v.name)
		if text == "" {
			continue
		}
		if c.Admin == nil {
			if v.key == "token" {
				continue // for the commands: there is no address here
			}
			c.Admin = new(Admin)
			SetDefaults(c.Admin)
		}
		p := newPath("admin", v.key)
		if c.Source != nil {
			c.Source.override(p, v.name)
		}
		c.Admin.fields().find(v.key).value.decode(d, &node{kind: kindString, env: v.name, text: text}, p)
	}
}
