package testenv_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
)

// leashedEnv makes TestStart the test that is killed.
const leashedEnv = "L4PROXY_TEST_LEASHED"

// TestStart: a process whose parent has ended, like a proxy after an upgrade, ends with the test
// and with the test binary.
func TestStart(t *testing.T) {
	if os.Getenv(leashedEnv) != "" {
		cmd := exec.Command("sh", "-c", "sleep 300 & echo $!") // an orphan at once
		cmd.Stdout = os.Stdout
		if err := testenv.Start(t, cmd); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if os.Getenv(leashedEnv) == "kill" {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return
	}
	for _, how := range []string{"kill", "end"} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestStart$")
			cmd.Env = append(os.Environ(), leashedEnv+"="+how)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			_ = out.Close() // the orphan has it too
			_ = cmd.Wait()  // it is killed
			pid, _ := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || pid < 2 {
				t.Fatalf("%q: %v", line, err)
			}
			for began := time.Now(); running(pid); time.Sleep(time.Millisecond) {
				if time.Since(began) > 10*time.Second {
					_ = syscall.Kill(pid, syscall.SIGKILL)
					t.Fatalf("process %d is left", pid)
				}
			}
		})
	}
}

// running reports whether a process runs; a zombie does not.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
