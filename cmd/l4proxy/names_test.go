package main

import (
	"net"
	"os"
	"strings"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// What startNameServer sets for the programs of a script.
const (
	resolvConfVariable = "L4PROXY_TEST_RESOLV_CONF"
	dnsPortVariable    = "L4PROXY_TEST_DNS_PORT"
)

// useTestResolver makes the program ask the name server of its script, if that has one.
func useTestResolver() {
	if name := os.Getenv(resolvConfVariable); name != "" {
		resolverFiles.ResolvConf, resolverFiles.Port = name, os.Getenv(dnsPortVariable)
	}
}

// startNameServer is the command nameserver FILE: a name server on loopback. FILE has its records,
// one per line, and is read for each answer.
func startNameServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nameserver FILE")
	}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	ts.Check(err)
	server := &dns.Server{PacketConn: packets, Handler: zoneFile(ts.MkAbs(args[0]))}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ActivateAndServe() // it ends with its socket
	}()
	ts.Defer(func() {
		packets.Close()
		<-ended
	})
	_, port, err := net.SplitHostPort(packets.LocalAddr().String())
	ts.Check(err)
	writeFile(ts, "resolv.conf", "nameserver 127.0.0.1\n")
	stateOf(ts).set(ts, resolvConfVariable, ts.MkAbs("resolv.conf"))
	stateOf(ts).set(ts, dnsPortVariable, port)
}

type zoneFile string

func (z zoneFile) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetRcode(q, dns.RcodeNameError)
	text, _ := os.ReadFile(string(z))
	for line := range strings.Lines(string(text)) {
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil || rr.Header().Name != q.Question[0].Name {
			continue
		}
		reply.Rcode = dns.RcodeSuccess
		if rr.Header().Rrtype == q.Question[0].Qtype {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	_ = w.WriteMsg(reply)
}
