package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// proxy is a running l4proxy with an admin address.
type proxy struct {
	t        *testing.T
	file     string
	listen   string
	admin    string
	token    string
	backends []string
	end      func() // kills it, and waits
}

// start runs l4proxy in front of backends that echo.
func start(t *testing.T, backends int, token string) *proxy {
	t.Helper()
	browser(t) // it may skip the test
	p := &proxy{t: t, token: token, file: filepath.Join(t.TempDir(), "config.json")}
	for range backends {
		p.backends = append(p.backends, testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo).Addr)
	}
	p.listen = fmt.Sprintf("127.0.0.1:%d", testnet.FreePort(t))
	p.admin = fmt.Sprintf("127.0.0.1:%d", testnet.FreePort(t))
	p.write(p.config())
	p.run()
	return p
}

type object = map[string]any

func (p *proxy) config() object {
	address := object{"bind": p.admin}
	if p.token != "" {
		address["token"] = p.token
	}
	return object{
		"admin": address,
		"log":   object{"connections": false},
		"listeners": object{"front": object{
			"bind": p.listen, "pool": "back",
			"acl": []object{{"deny": "127.0.0.13"}},
		}},
		"pools": object{"back": object{"backends": p.backends}},
	}
}

func (p *proxy) write(config any) {
	p.t.Helper()
	text, err := json.MarshalIndent(config, "", "  ")
	if err == nil {
		err = os.WriteFile(p.file, text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// run starts the process, and waits until it is ready.
func (p *proxy) run() {
	p.t.Helper()
	cmd := exec.Command(binary(p.t), "run", "-c", p.file)
	// A file, not a pipe: after an upgrade, the new process has it too.
	log, err := os.OpenFile(p.file+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := testenv.Start(p.t, cmd); err != nil {
		p.t.Fatal(err)
	}
	p.end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if p.t.Failed() {
			text, _ := os.ReadFile(p.file + ".log")
			p.t.Logf("log of the proxy:\n%s", text)
		}
	})
	p.t.Cleanup(p.end)
	testnet.Eventually(p.t, "the proxy is ready", func() bool {
		response, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

func (p *proxy) url(hash string) string { return "http://" + p.admin + "/" + hash }

// status asks the proxy itself.
func (p *proxy) status() *admin.Status {
	p.t.Helper()
	response, err := http.Get(p.url("api/v1/status"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	status := new(admin.Status)
	if err := json.NewDecoder(response.Body).Decode(status); err != nil {
		p.t.Fatal(err)
	}
	return status
}

// backend is the state of a backend.
func (p *proxy) backend(address string) admin.BackendStatus {
	p.t.Helper()
	for _, b := range p.status().Pools[0].Backends {
		if b.Address == address {
			return b
		}
	}
	p.t.Fatalf("no backend %s", address)
	return admin.BackendStatus{}
}

// hold opens connections that stay open, and have passed bytes.
func (p *proxy) hold(n int) []testnet.Conn {
	p.t.Helper()
	var all []testnet.Conn
	for range n {
		c := testnet.Dial(p.t, "tcp", p.listen)
		p.t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "ping"); err != nil {
			p.t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			p.t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// load opens connections at a steady rate until the end of the test, each of which passes some
// kilobytes; now and then a client is denied.
func (p *proxy) load() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			dialer := net.Dialer{Timeout: time.Second}
			if i%10 == 0 {
				dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 13)}
			}
			c, err := dialer.DialContext(ctx, "tcp", p.listen)
			if err != nil {
				continue // the proxy restarts
			}
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte(strings.Repeat("x", 4096)))
			_, _ = io.ReadFull(c, make([]byte, 4096)) // a denied client reads less
			_ = c.Close()
		}
	})
	p.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}
