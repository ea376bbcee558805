package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/config"
)

// adminFlags are those of all commands that talk to a running proxy.
type adminFlags struct {
	address   string
	config    string
	tokenFile string
	json      bool
}

func (f *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "admin", "",
		"admin address, host:port or unix:/path (default: $L4PROXY_ADMIN, else that of the configuration)")
	cmd.Flags().StringVarP(&f.config, "config", "c", "",
		"configuration file to read the admin address from (default: $L4PROXY_CONFIG, else ./config.json)")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "",
		"file with the token (default: $L4PROXY_ADMIN_TOKEN, else the one in the configuration)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the answer as JSON")
}

// newAdminCommand is a command that talks to a running proxy. run prints what is for people to out;
// with --json, that is left out and the answer is printed instead. Each error that run returns is a
// failure of the command.
func newAdminCommand(cmd *cobra.Command, run func(ctx context.Context, c *client.Client, out io.Writer) (answer any, err error)) *cobra.Command {
	flags := new(adminFlags)
	flags.add(cmd)
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.client(os.LookupEnv)
		if err != nil {
			return failure{err}
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		out := cmd.OutOrStdout()
		if flags.json {
			out = io.Discard
		}
		answer, err := run(ctx, c, out)
		if refused := new(admin.Error); flags.json && errors.As(err, &refused) {
			answer = refused
		}
		if flags.json && answer != nil {
			if failed := printJSON(cmd.OutOrStdout(), answer); err == nil {
				err = failed
			}
		}
		return failed(explainAdmin(c, err))
	}
	return cmd
}

func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// client is a client of the address that the flags, the environment or the configuration names.
func (f *adminFlags) client(env func(string) (string, bool)) (*client.Client, error) {
	token, err := f.token(env)
	if err != nil {
		return nil, err
	}
	address := f.address
	if address == "" {
		address, _ = env("L4PROXY_ADMIN")
	}
	if address == "" {
		a, err := f.configured(env)
		if err != nil {
			return nil, err
		}
		return client.New(a.Bind.String(), cmp.Or(token, string(a.Token)))
	}
	if token == "" { // that of the configuration is only for the address there
		a, err := config.LoadAdmin(configFile(f.config, env), withoutVariable(env, "L4PROXY_ADMIN"))
		if err == nil && a != nil && a.Bind.String() == address {
			token = string(a.Token)
		}
	}
	return client.New(address, token)
}

// configured is the admin address in the configuration.
func (f *adminFlags) configured(env func(string) (string, bool)) (*config.Admin, error) {
	file := configFile(f.config, env)
	if _, err := os.Stat(file); file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no admin address: name it with --admin or L4PROXY_ADMIN, or the configuration of the proxy with -c (there is no %s)",
			cmp.Or(file, defaultConfig))
	}
	a, err := config.LoadAdmin(file, env)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s\nname the admin address with --admin", err)
	case a == nil:
		return nil, fmt.Errorf("%s has no admin address: add %s, and restart the proxy; or name an address with --admin", file, adminLines(file))
	case a.Bind.Port == 0 && !a.Bind.IsUnix():
		return nil, fmt.Errorf("the kernel chose the port of the admin address %s: find it in the log line \"admin address open\", and write --admin ADDRESS", a.Bind)
	}
	return a, nil
}

// adminLines is what to add to a configuration that has no admin address. The simple form cannot
// have one.
func adminLines(file string) string {
	text, err := os.ReadFile(file)
	switch {
	case err == nil && strings.Contains(string(text), "LISTENER_PORT"):
		return "L4PROXY_ADMIN=127.0.0.1:9901 to the environment of the proxy"
	case strings.HasSuffix(file, ".json"):
		return `"admin": {"bind": "127.0.0.1:9901"}`
	}
	return "admin: {bind: 127.0.0.1:9901}"
}

func withoutVariable(env func(string) (string, bool), hidden string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if name == hidden {
			return "", false
		}
		return env(name)
	}
}

// token is the token that the flags or the environment give; "" if they give none.
func (f *adminFlags) token(env func(string) (string, bool)) (string, error) {
	token, err := f.readToken(env)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the token in %s contains a space, a line end or a character that is not ASCII: write the value of admin.token",
			cmp.Or(f.tokenFile, "L4PROXY_ADMIN_TOKEN"))
	}
	return token, err
}

func (f *adminFlags) readToken(env func(string) (string, bool)) (string, error) {
	if f.tokenFile == "" {
		token, _ := env("L4PROXY_ADMIN_TOKEN")
		return token, nil
	}
	text, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("%s has no token: the file is empty", f.tokenFile)
	}
	return token, nil
}

// explainAdmin says what to do about an error.
func explainAdmin(c *client.Client, err error) error {
	var unreachable *client.UnreachableError
	var refused *admin.Error
	switch {
	case err == nil, errors.Is(err, errReported):
		return err
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("no l4proxy answers at %s: is it running, and is that its admin address?", c.Address())
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("no permission to connect to %s: run this as root or as the user of the proxy, or set admin.mode and admin.owner", c.Address())
	case errors.As(err, &unreachable):
		return err
	case !errors.As(err, &refused):
		return err
	case refused.Status == http.StatusUnauthorized:
		return fmt.Errorf("%s: %s: set L4PROXY_ADMIN_TOKEN or --token-file to what admin.token is in the configuration of the proxy; "+
			"a changed token takes effect with a reload, and kill -HUP needs no token", c.Address(), refused.Message)
	case refused.Status == http.StatusNotFound && strings.HasPrefix(refused.Message, "no such path"):
		return fmt.Errorf("the l4proxy at %s does not know this command: it is older than this program (l4proxy status shows its version)", c.Address())
	}
	// What answers there may be no l4proxy.
	return &admin.Error{Status: refused.Status, Message: printable(refused.Message), Hint: printable(refused.Hint)}
}
