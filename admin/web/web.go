// Package web is the dashboard: static files that a browser loads from the admin address. What they
// show comes from the API.
//
// There is no build step: the files are what the browser gets. The path of every file but the page
// itself holds a hash of all files, so that browsers may keep them for good, and never mix the
// files of two versions.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed static
var embedded embed.FS

const (
	page = "index.html"
	// placeholder stands in the page for the folder of the assets.
	placeholder = "{{assets}}"
	// policy lets the page load its own files and talk to its own address, and nothing else: no
	// inline script or style, no frame, no form, no other site. Data URLs are for images of CSS.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// Handler serves the dashboard: the page at "/", and the files that it needs below "/assets/".
type Handler struct {
	version string // a hash of all files
	files   map[string]*file
}

// file is one file as it is served.
type file struct {
	kind   string // Content-Type
	text   []byte
	etag   string
	zipped func() []byte // text in gzip's form, made on first use
}

// New returns the dashboard.
func New() *Handler {
	static, err := fs.Sub(embedded, "static")
	if err != nil {
		panic(err) // the name of the folder is a constant
	}
	return newHandler(static)
}

// newHandler serves the files of a folder.
func newHandler(static fs.FS) *Handler {
	h := &Handler{files: make(map[string]*file)}
	hash := sha256.New()
	err := fs.WalkDir(static, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(static, name)
		fmt.Fprintf(hash, "%s\x00%d\x00", name, len(text))
		hash.Write(text)
		h.files[name] = newFile(name, text)
		return err
	})
	if err != nil {
		panic(err) // the files are part of the binary
	}
	h.version = hex.EncodeToString(hash.Sum(nil))[:16]
	text := bytes.ReplaceAll(h.files[page].text, []byte(placeholder), []byte("assets/"+h.version))
	h.files[page] = newFile(page, text)
	return h
}

func newFile(name string, text []byte) *file {
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // the table of mime depends on the files of the machine
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".html":
		kind = "text/html; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	case "":
		kind = "text/plain; charset=utf-8"
	}
	sum := sha256.Sum256(text)
	return &file{
		kind: kind,
		text: text,
		etag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		zipped: sync.OnceValue(func() []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write(text) // into memory
			_ = w.Close()
			return b.Bytes()
		}),
	}
}

// Has reports whether there is something at a path.
func (h *Handler) Has(path string) bool { return h.file(path) != nil }

// file returns the file at a path; nil if there is none.
func (h *Handler) file(path string) *file {
	if path == "/" {
		return h.files[page]
	}
	name, ok := strings.CutPrefix(path, "/assets/"+h.version+"/")
	if !ok || name == page {
		return nil
	}
	return h.files[name]
}

// ServeHTTP answers GET and HEAD.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cache := "no-cache"
	if r.URL.Path != "/" {
		cache = "public, max-age=31536000, immutable"
	}
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	f := h.file(r.URL.Path)
	if f == nil {
		header.Set("Cache-Control", "no-store")
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	header.Set("Content-Type", f.kind)
	header.Set("Cache-Control", cache)
	header.Set("ETag", f.etag)
	header.Set("Vary", "Accept-Encoding")
	if matches(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	text := f.text
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		header.Set("Content-Encoding", "gzip")
		text = f.zipped()
	}
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // the client has gone, or does not read
	}
}

// matches reports whether a value of If-None-Match names the ETag (RFC 9110, section 13.1.2).
func matches(value, etag string) bool {
	for tag := range strings.SplitSeq(value, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// acceptsGzip reports whether a value of Accept-Encoding names gzip, and does not forbid it.
func acceptsGzip(value string) bool {
	for coding := range strings.SplitSeq(value, ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		weight, found := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !found || err == nil && q > 0
	}
	return false
}
