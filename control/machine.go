package control

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"l4proxy/config"
)

// ThisMachine returns what Gather and `check` know of this machine without asking a name server:
// the addresses and the numbers of its network interfaces, as far as the system lists them, and its
// symbolic links.
func ThisMachine() config.Machine {
	here := config.Machine{Zones: make(map[string]string), RealPath: realPath}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			here.Addresses = append(here.Addresses, p.Addr())
		}
	}
	nics, _ := net.Interfaces()
	for _, nic := range nics {
		here.Zones[nic.Name] = strconv.Itoa(nic.Index)
	}
	return here
}

// realPath resolves the symbolic links in the path of a socket, which need not exist yet.
func realPath(name string) string {
	const mostLinks = 40 // as in the kernel
	for range mostLinks {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
			name = filepath.Join(dir, filepath.Base(name))
		}
		target, err := os.Readlink(name)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		name = target
	}
	return name
}
