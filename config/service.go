package config

import (
	"net/netip"
	"strings"
)

const serviceHint = "write srv:NAME, as in srv:_postgres._tcp.example.com"

// parseService parses what follows "srv:" in the address of a backend.
func parseService(name string) (Address, *Fault) {
	host, port, hasPort := strings.Cut(name, ":")
	_, notIP := netip.ParseAddr(name)
	switch {
	case name == "":
		return Address{}, faultf(serviceHint, "srv: has no name")
	case strings.HasPrefix(name, "/") || host == "unix":
		return Address{}, faultf("write "+quote("unix:/"+strings.TrimLeft(strings.TrimPrefix(name, "unix:"), "/")), "a unix socket has no SRV records")
	case notIP == nil:
		return Address{}, faultf(serviceHint, "SRV records have a name, not the IP address %s", quote(name))
	case hasPort:
		return Address{}, faultf("write "+quote(srvPrefix+host), "%s has a port (%s): SRV records say which port each server has", quote(srvPrefix+name), quote(port))
	}
	return Address{Host: strings.ToLower(name), SRV: true}, nil
}

// checkService checks the name of SRV records. It need not begin with a service and a protocol:
// Consul answers queries for SRV records of other names too.
func checkService(a Address) *Fault {
	switch {
	case a.Port != 0:
		return faultf("remove the port", "%s has a port: SRV records say which port each server has", quote(a.String()))
	case a.Host == "":
		return faultf(serviceHint, "srv: has no name")
	}
	if f := checkHost(a.Host); f != nil {
		f.Fix = serviceHint
		return f
	}
	labels := strings.SplitN(a.Host, ".", 3)
	if !strings.HasPrefix(a.Host, "_") {
		return nil
	}
	// RFC 2782: _Service._Proto.Name
	switch {
	case len(labels) < 2 || !strings.HasPrefix(labels[1], "_"):
		return faultf("write "+quote(srvPrefix+labels[0]+"._tcp.example.com"), "%s has no protocol after the service", quote(a.String()))
	case labels[1] != "_tcp":
		return faultf("write "+quote(srvPrefix+labels[0]+"._tcp")+" and the domain", "%s is for the protocol %s, and backends are reached by TCP",
			quote(a.String()), quote(strings.TrimPrefix(labels[1], "_")))
	}
	return nil
}

func serviceToListenOn(a Address) *Fault {
	return faultf("write host:port", "%s is for backends, not for listeners", quote(a.String()))
}
