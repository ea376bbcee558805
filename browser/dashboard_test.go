package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"l4proxy/admin"
	"l4proxy/internal/testnet"
)

// figure is the number of a tile.
const figure = `(title => parseFloat([...document.querySelectorAll(".tile")].find(t => t.querySelector("h2").innerText.startsWith(title)).querySelector(".figure").innerText.replace(/,/g, "")))`

// The overview answers whether everything is all right, and shows traffic while there is some.
func TestBrowserShowsTraffic(t *testing.T) {
	p := start(t, 2, "")
	page := open(t, desktop, p.url(""))
	page.live()
	page.sees("No problems")
	page.sees("1 of 1 listener open · 2 of 2 backends usable")
	p.load()
	p.hold(3)
	page.until("connections are shown", figure+`("Connections") >= 3`)
	page.until("the rate of new connections is shown", figure+`("New connections") > 10`)
	page.until("bytes are shown", `/[1-9].* [kM]?B\/s/.test([...document.querySelectorAll(".tile .figure")][2].innerText)`)
	page.until("the time to connect is shown", figure+`("Time to connect") > 0`)
	page.until("denied clients are shown", figure+`("Not served") > 0`)
	page.until("the charts are drawn", `[...document.querySelectorAll(".tile canvas")].length === 5 &&
		[...document.querySelectorAll(".tile canvas")].every(c => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(Boolean))`)
	page.until("events are shown", `document.querySelectorAll(".feed li").length > 0`)
	if got := page.text(); strings.Contains(got, "NaN") || strings.Contains(got, "undefined") || strings.Contains(got, "null") {
		t.Errorf("the page shows a value that is none:\n%s", got)
	}
}

// A backend is drained with the mouse, and put back.
func TestBrowserDrainsByMouse(t *testing.T) {
	p := start(t, 2, "")
	p.hold(2)
	page := open(t, desktop, p.url(""))
	page.click(`.card a[href="#/pool/back"]`)
	page.click(fmt.Sprintf(`button[aria-label="Drain %s"]`, p.backends[0]))
	page.sees("It gets no new clients.")
	if got := p.backend(p.backends[0]).State; got == admin.BackendDrain {
		t.Error("drained without an answer")
	}
	page.click("dialog button.primary")
	page.sees(p.backends[0] + " is draining.")
	if got := p.backend(p.backends[0]).State; got != admin.BackendDrain {
		t.Errorf("state %s after draining", got)
	}
	page.until("the row says so", fmt.Sprintf(`[...document.querySelectorAll("tbody tr")].find(r => r.innerText.includes(%q)).innerText.includes("drain\n")`, p.backends[0]))
	page.click(fmt.Sprintf(`button[aria-label="Restore %s"]`, p.backends[0]))
	page.sees(p.backends[0] + " is back in service.")
	if got := p.backend(p.backends[0]).State; got == admin.BackendDrain {
		t.Errorf("state %s after restoring", got)
	}
	// The last backend that can take clients is not drained without a warning.
	page.click(fmt.Sprintf(`button[aria-label="Down %s"]`, p.backends[1]))
	page.click("dialog button.danger")
	page.sees(p.backends[1] + " is down.")
	page.click(fmt.Sprintf(`button[aria-label="Drain %s"]`, p.backends[0]))
	page.sees("No other backend of this pool can take clients now.")
	page.press(kb.Escape)
	page.until("Escape closes the question", `!document.querySelector("dialog")`)
}

// Without a mouse, a backend is found and drained.
func TestBrowserDrainsByKeyboard(t *testing.T) {
	p := start(t, 2, "")
	page := open(t, desktop, p.url(""))
	page.until("the pool is listed", `document.querySelector('.card a[href="#/pool/back"]')`)
	page.press(kb.Tab)
	if !eval[bool](page, `document.activeElement.matches(".skip")`) {
		t.Error("the first Tab does not reach the skip link")
	}
	page.press(kb.Enter)
	if !eval[bool](page, `document.activeElement.matches("main")`) {
		t.Error("the skip link does not skip")
	}
	page.tabTo(`.card a[href="#/pool/back"]`)
	if !eval[bool](page, `getComputedStyle(document.activeElement).outlineStyle === "solid"`) {
		t.Error("the focus cannot be seen")
	}
	page.press(kb.Enter)
	page.until("the heading of the pool has the focus", `document.activeElement.matches("h1") && document.activeElement.innerText === "Pool back"`)
	page.tabTo(fmt.Sprintf(`button[aria-label="Drain %s"]`, p.backends[1]))
	page.press(kb.Enter)
	page.until("the question has the focus", `document.querySelector("dialog")?.contains(document.activeElement)`)
	page.tabTo("dialog button.primary")
	page.press(kb.Enter)
	page.sees(p.backends[1] + " is draining.")
	if got := p.backend(p.backends[1]).State; got != admin.BackendDrain {
		t.Errorf("state %s after draining", got)
	}
}

// Connections are ended after a question that says how many.
func TestBrowserKills(t *testing.T) {
	p := start(t, 1, "")
	held := p.hold(3)
	page := open(t, desktop, p.url("#/pool/back"))
	page.click(fmt.Sprintf(`button[aria-label="Kill… %s"]`, p.backends[0]))
	page.sees("3 connections match.")
	page.click("dialog button.plain")
	if got := p.backend(p.backends[0]).Connections; got != 3 {
		t.Errorf("%d connections after giving up, want 3", got)
	}
	page.click(fmt.Sprintf(`button[aria-label="Kill… %s"]`, p.backends[0]))
	page.sees("End 3 connections")
	page.click("dialog button.danger")
	page.sees("3 connections ended.")
	for _, c := range held {
		_ = c.SetReadDeadline(time.Now().Add(testnet.Patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("a killed connection: %v", err)
		}
	}
}

// The table of connections filters, and ends one of them.
func TestBrowserListsConnections(t *testing.T) {
	p := start(t, 1, "")
	p.hold(3)
	page := open(t, desktop, p.url("#/connections"))
	page.sees("3 live connections")
	page.until("each has a row", `document.querySelectorAll("tbody tr").length === 3`)
	page.do(sendKeys(`input[name="from"]`, "10.0.0.0/8\r"))
	page.sees("0 of 3 live connections match")
	page.sees("No connection matches.")
	page.click("a.button")
	page.sees("3 live connections")
	page.click("tbody tr button.danger-text")
	page.sees("1 connection matches.")
	page.click("dialog button.danger")
	page.sees("1 connection ended.")
	page.sees("2 live connections")
	page.do(sendKeys(`input[name="from"]`, "nonsense\r"))
	page.until("a wrong filter is explained", `document.querySelector(".card.filter .problem").innerText.length > 10`)
	page.expect("400 (Bad Request)")
}

// A weight is changed.
func TestBrowserChangesWeight(t *testing.T) {
	p := start(t, 2, "")
	page := open(t, desktop, p.url("#/pool/back"))
	page.click(fmt.Sprintf(`button[aria-label="Weight 1 of %s: change"]`, p.backends[0]))
	page.do(sendKeys(`dialog input[name="weight"]`, "7\r"))
	page.sees(p.backends[0] + " has a new weight.")
	if got := p.backend(p.backends[0]).Weight; got != 7 {
		t.Errorf("weight %d, want 7", got)
	}
	page.until("the row says so", fmt.Sprintf(`document.querySelector('button[aria-label="Weight 7 of %s: change"]')`, p.backends[0]))
}

// A reload that is refused is shown with its error, and so is the next one that succeeds.
func TestBrowserShowsRefusedReload(t *testing.T) {
	p := start(t, 2, "")
	page := open(t, desktop, p.url("#/config"), "422 (Unprocessable Entity)")
	page.until("the configuration is shown", `document.querySelectorAll(".code .line").length > 10`)
	good := p.config()
	bad := p.config()
	bad["pools"].(object)["back"].(object)["polcy"] = "first"
	p.write(bad)
	page.click("header button.primary") // Reload…
	page.click("dialog button.primary")
	page.sees("The reload was refused")
	page.sees("unknown key")
	page.sees("last reload refused")
	page.visit("#/")
	page.sees("1 problem")
	page.sees("was refused")

	good["pools"].(object)["back"].(object)["policy"] = "first"
	p.write(good)
	page.visit("#/config")
	page.sees("A reload would make 1 change")
	page.click("header button.primary")
	page.click("dialog button.primary")
	page.sees("Reloaded: 1 change, generation 2.")
	page.sees("The file matches what is in effect.")
	page.until("the new configuration is shown", `document.querySelector(".code").innerText.includes('"first"')`)
	page.visit("#/")
	page.sees("No problems")
}

// The page says that the proxy is gone, and is live again after its restart.
func TestBrowserSurvivesRestart(t *testing.T) {
	p := start(t, 2, "")
	page := open(t, desktop, p.url(""), "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")
	page.live()
	p.end()
	page.sees("Disconnected, reconnecting")
	page.sees("Reconnecting")
	p.run()
	page.live()
	page.until("the warning is gone", `document.querySelector("#stale").hidden`)
	pid := fmt.Sprintf("pid %d", p.status().PID)
	page.sees(pid)
	p.load()
	page.until("traffic is shown again", figure+`("New connections") > 10`)
}

// After an upgrade, the page follows the new process.
func TestBrowserSurvivesUpgrade(t *testing.T) {
	p := start(t, 2, "")
	page := open(t, desktop, p.url(""), "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")
	page.live()
	before := p.status().PID
	page.sees(fmt.Sprintf("pid %d", before))
	response, err := http.Post(p.url("api/v1/upgrade"), "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	upgraded := new(admin.Upgrade)
	if err := json.NewDecoder(response.Body).Decode(upgraded); err != nil || response.StatusCode != http.StatusOK || upgraded.PID == before {
		t.Fatalf("upgrade: %s %+v %v", response.Status, upgraded, err)
	}
	page.sees(fmt.Sprintf("pid %d", upgraded.PID))
	page.live()
	page.sees("No problems")
}

// The page asks for the token when the API wants it, and keeps it for the tab.
func TestBrowserAsksForToken(t *testing.T) {
	const token = "a-long-random-token-of-a-test"
	p := start(t, 2, token)
	page := open(t, desktop, p.url("#/pool/back"), "401 (Unauthorized)")
	drain := fmt.Sprintf(`button[aria-label="Drain %s"]`, p.backends[0])
	page.click(drain) // on a loopback address, only changes need it
	page.click("dialog button.primary")
	page.sees("Token required")
	page.do(sendKeys(`dialog input[type="password"]`, "wrong\r"))
	page.sees("The token is wrong.")
	page.do(sendKeys(`dialog input[type="password"]`, token+"\r"))
	page.sees(p.backends[0] + " is draining.")
	page.click(fmt.Sprintf(`button[aria-label="Restore %s"]`, p.backends[0]))
	page.sees(p.backends[0] + " is back in service.")
	if eval[bool](page, "location.href.includes("+quote(token)+") || document.documentElement.outerHTML.includes("+quote(token)+") || JSON.stringify({...localStorage}).includes("+quote(token)+")") {
		t.Error("the token is in the address, the page, or the storage that lasts")
	}
}
