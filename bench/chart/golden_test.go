package chart

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the pictures in testdata")

func TestExamplesAreAsInTestdata(t *testing.T) {
	for name, picture := range examples {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := Write(&got, picture); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".svg")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs: look at the picture, then run go test -update", path)
			}
		})
	}
}
