package upgrade

import (
	"fmt"
	"strconv"
)

// The versions of the format that this program speaks. A new version is one that an older program
// would misread; new fields, and messages that may be ignored, need none. Raise minFormat only when
// every supported release speaks a newer version.
const (
	minFormat = 1
	maxFormat = 1
)

// testFormats, set by tests at build time (-ldflags "-X l4proxy/upgrade.testFormats=1-2"), makes
// this program speak other versions, and send fields and messages that no older program knows.
var testFormats string

// formats is a range of versions.
type formats struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

func (f formats) String() string {
	if f.Min == f.Max {
		return strconv.Itoa(f.Min)
	}
	return fmt.Sprintf("%d to %d", f.Min, f.Max)
}

// spoken is what this program speaks.
func spoken() formats {
	f := formats{minFormat, maxFormat}
	if testFormats != "" {
		if _, err := fmt.Sscanf(testFormats, "%d-%d", &f.Min, &f.Max); err != nil {
			panic("upgrade.testFormats: " + err.Error()) // a mistake in a test
		}
	}
	return f
}

// common returns the highest version that both speak.
func (f formats) common(other formats) (int, error) {
	highest := min(f.Max, other.Max)
	if highest < max(f.Min, other.Min) {
		return 0, fmt.Errorf("the old process speaks hand-over format %v and the new one %v: restart instead, or upgrade through a release between the two",
			f, other)
	}
	return highest, nil
}
