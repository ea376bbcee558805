package peers

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"l4proxy/internal/testnet"
)

// tempDir returns a directory that other users may enter, and removes it at the end of the test.
// PostgreSQL refuses to run as root, and only the owner may enter the parent of t.TempDir.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "l4proxy-peers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Children of a killed server may still be exiting.
		testnet.Within(patience, func() bool { err = os.RemoveAll(dir); return err == nil })
		if err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// noise returns n incompressible bytes, the same for the same seed.
func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

// digest counts and hashes what is written to it.
type digest struct {
	n    uint64
	hash io.Writer
	sum  func() string
}

func newDigest() *digest {
	h := sha256.New()
	return &digest{hash: h, sum: func() string { return hex.EncodeToString(h.Sum(nil)) }}
}

func (d *digest) Write(p []byte) (int, error) {
	d.n += uint64(len(p))
	return d.hash.Write(p)
}

func sha256Of(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
