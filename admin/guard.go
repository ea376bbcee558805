package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Address is the address that a Server serves, and who may use it.
type Address struct {
	// Unix is a unix socket: the permissions of its file decide who may connect, and no browser
	// can.
	Unix bool
	// Loopback says that only this machine can reach it. A unix socket is that too.
	Loopback bool
	// Host is the host name in the configuration, if there was one.
	Host string
	// Port is that of a TCP address.
	Port uint16
	// Token has to be presented, as "Authorization: Bearer TOKEN"; "" is none.
	Token string
}

// guard decides whether a request may be answered.
type guard struct {
	Address
	tokenHash [sha256.Size]byte
	origins   *http.CrossOriginProtection
}

func newGuard(a Address) *guard {
	return &guard{Address: a, tokenHash: sha256.Sum256([]byte(a.Token)), origins: http.NewCrossOriginProtection()}
}

// check returns why a request is refused; nil if it is not. open is a route that needs no token
// anywhere, changes one that changes state.
func (g *guard) check(r *http.Request, open, changes bool) *Error {
	if !g.ownHost(r) {
		return &Error{http.StatusForbidden, "wrong Host " + strconv.Quote(r.Host),
			"use localhost, a loopback address or the host of admin.bind, with the port of admin.bind"}
	}
	// Requests that change state are refused to pages of other origins. Browsers mark their
	// requests, and nothing else does (Fetch Metadata).
	if err := g.origins.Check(r); err != nil {
		return &Error{http.StatusForbidden, "cross-origin request refused", "send it from a page of this address, or not from a browser"}
	}
	if g.needsToken(open, changes) && !g.hasToken(r) {
		message := "wrong token"
		if r.Header.Get("Authorization") == "" {
			message = "a token is required"
		}
		return &Error{http.StatusUnauthorized, message, `send "Authorization: Bearer TOKEN" with the token of admin.token`}
	}
	return nil
}

// needsToken reports whether a request has to present the token. On a loopback address, reading
// needs none. A unix socket never does.
func (g *guard) needsToken(open, changes bool) bool {
	switch {
	case g.Token == "" || g.Unix:
		return false
	case g.Loopback:
		return changes
	}
	return !open
}

// hasToken compares hashes, so that the time says nothing about the token, nor about its length.
func (g *guard) hasToken(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	hash := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return ok && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(hash[:], g.tokenHash[:]) == 1
}

// ownHost reports whether the Host of a request is a name of a loopback address. A page of another
// site can make its own name point to 127.0.0.1 (DNS rebinding); its requests are then of the same
// origin, but still have its name as Host. Other addresses have names that cannot be known here;
// there, the token protects what matters, because a page does not have it.
func (g *guard) ownHost(r *http.Request) bool {
	if g.Unix || !g.Loopback {
		return true
	}
	if r.Host == "" {
		return !r.ProtoAtLeast(1, 1) // HTTP/1.0 has no Host; every browser sends one
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil { // without a port
		host, port = r.Host, "80"
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			host = host[1 : len(host)-1]
		}
	}
	if port != strconv.Itoa(int(g.Port)) {
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || host != "" && host == strings.TrimSuffix(g.Host, ".") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
