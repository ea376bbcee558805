package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
)

// serverName is the name by which clients are routed.
const serverName = "www.example.com"

// routedBySNI is connections whose backend depends on the name in a ClientHello. The
// origin does not speak TLS: what is compared is what a proxy does before it dials.
func routedBySNI(clients int) scenario {
	s := connection(clients)
	s.name = fmt.Sprintf("sni-%d", clients)
	s.about = fmt.Sprintf("A new connection for each request, which begins with a ClientHello of crypto/tls with post-quantum keys. "+
		"The proxy routes by its server name. Clients at a time: %d (closed loop).", clients)
	s.family, s.x, s.size.sni = "sni", float64(clients), serverName
	s.proxied = true
	return s
}

// proxyHeader is connections at whose start the backends get a header of the PROXY
// protocol, beside the same without it.
func proxyHeader(clients int) scenario {
	s := connection(clients)
	s.name = fmt.Sprintf("proxy-%d", clients)
	s.about = fmt.Sprintf("What it costs to send a PROXY protocol header: a new connection for each small request, %d at a time (closed loop), without and with it. "+
		"l4proxy and HAProxy send version 2, nginx version 1: its stream module has no other.", clients)
	s.family, s.proxied, s.peers = "", true, sendingProxy
	return s
}

// sendingProxy returns each proxy that can send the header twice: without it and with it.
// Ours with it is compared with ours without.
func sendingProxy(all []peer) []peer {
	versions := map[string]string{"haproxy": "v2", "nginx": "v1"}
	var twice []peer
	for _, p := range all {
		version := versions[p.name]
		if p.role == ours {
			version = "v2"
		}
		if version == "" {
			continue
		}
		sending := p
		sending.name, sending.sendProxy = p.name+", PROXY "+version, version
		if p.role == ours {
			sending.beside = p.name
		}
		twice = append(twice, p, sending)
	}
	return twice
}

// errEnough ends a handshake after the first message.
var errEnough = errors.New("enough")

// capture is a connection that keeps what is written first.
type capture struct {
	net.Conn
	first []byte
}

func (c *capture) Write(b []byte) (int, error) {
	c.first = slices.Clone(b)
	return 0, errEnough
}

// clientHello returns what a TLS client sends first that asks for a name.
func clientHello(name string) ([]byte, error) {
	var c capture
	config := &tls.Config{ServerName: name, NextProtos: []string{"h2", "http/1.1"}}
	if err := tls.Client(&c, config).Handshake(); !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("no ClientHello: %w", err)
	}
	return c.first, nil
}
