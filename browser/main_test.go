package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"

	"l4proxy/internal/testenv"
)

// update writes the pictures of the documentation.
var update = flag.Bool("update", false, "write docs/images/dashboard-*.png")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if chrome.stop != nil {
		chrome.stop()
	}
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// chrome is the browser that all tests share: each has a tab with a storage of its own.
var chrome struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

// browser returns the browser, started on first use.
func browser(t *testing.T) context.Context {
	t.Helper()
	testenv.NeedSuite(t, "browser")
	path := testenv.NeedTool(t, "chromium")
	chrome.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
			chromedp.ExecPath(path),
			chromedp.Flag("lang", "en-US"),
			chromedp.Flag("hide-scrollbars", true),
			// Tabs of other tests must not slow this one.
			chromedp.Flag("disable-background-timer-throttling", true),
			chromedp.Flag("disable-renderer-backgrounding", true),
		)
		if os.Geteuid() == 0 {
			options = append(options, chromedp.NoSandbox) // the sandbox refuses root
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		chrome.ctx = ctx
		chrome.stop = func() {
			_ = chromedp.Cancel(ctx) // waits until the browser has ended
			cancel()
			stop()
		}
		chrome.err = chromedp.Do(ctx)
	})
	if chrome.err != nil {
		t.Fatalf("chromium does not start: %v", chrome.err)
	}
	return chrome.ctx
}

// built is the binary under test.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// binary returns the path of l4proxy, built from this tree.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "l4proxy-browser-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "l4proxy")
		cmd := exec.Command("go", "build", "-o", built.path, "./cmd/l4proxy")
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}
