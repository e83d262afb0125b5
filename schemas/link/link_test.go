package link_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/schemas/link/linktest"
)

const password = "pässwörd with späces "

// A secret shows itself to no printer, wherever it stands.
func TestSecretIsNeverShown(t *testing.T) {
	secret := link.Secret(password)
	type config struct {
		Password link.Secret            `json:"password" yaml:"password"`
		Many     map[string]link.Secret `json:"many"     yaml:"many"`
		From     link.Source            `json:"-"        yaml:"-"`
	}
	cfg := config{secret, map[string]link.Secret{"a": secret}, link.From("k", secret, "f", "")}
	var shown bytes.Buffer
	for _, v := range []any{secret, &secret, cfg, &cfg, []link.Secret{secret}, fmt.Errorf("bad %v", secret)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%10.3s", "%T"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		if _, plain := v.(error); !plain {
			require.NoError(t, err)
		}
		shown.Write(text)
		text, _ = yaml.Marshal(v)
		shown.Write(text)
		log := zerolog.New(&shown)
		log.Info().Any("v", v).Interface("i", v).Stringer("s", secret).Msgf("%v", v)
	}
	require.Contains(t, shown.String(), link.Hidden)
	for _, part := range []string{"päss", "sswörd", "wörd", "späces", fmt.Sprintf("%x", password[:4]), fmt.Sprintf("%X", password[:4])} {
		require.NotContains(t, shown.String(), part)
	}
	require.Empty(t, link.Secret("").String())
	var read config
	require.NoError(t, yaml.Unmarshal([]byte("password: "+`"`+password+`"`), &read))
	require.Equal(t, password, string(read.Password))
}

func TestSecretFromFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	for name, tc := range map[string]struct{ text, want, wrong string }{
		"as it is":            {password, password, ""},
		"line break":          {password + "\n", password, ""},
		"CRLF":                {password + "\r\n", password, ""},
		"BOM":                 {"\ufeff" + password + "\n", password, ""},
		"spaces are kept":     {"  x  \n", "  x  ", ""},
		"empty":               {"", "", "empty"},
		"only a line break":   {"\n", "", "empty"},
		"two lines":           {"user\nsecret\n", "", "2 lines; a secret is one line"},
		"UTF-16 (PowerShell)": {"\xff\xfes\x00e\x00", "", "not UTF-8"},
		"zero byte":           {"se\x00cret", "", "control characters"},
		"too large":           {string(bytes.Repeat([]byte("x"), 70_000)), "", "more than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(file, []byte(tc.text), 0o600))
			got, err := link.From("a.password", "", "a.password_file", file)()
			require.Equal(t, tc.want, got)
			if tc.wrong == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "a.password_file: "+file)
			require.ErrorContains(t, err, tc.wrong)
			require.NotContains(t, err.Error(), "secret\n")
			require.NotContains(t, err.Error(), "se\x00")
		})
	}
	_, err := link.ReadSecret("a.password_file", dir)
	require.EqualError(t, err, "a.password_file: "+dir+" is a directory; name the file in it")
	_, err = link.ReadSecret("a.password_file", filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = link.ReadSecret("a.password_file", os.DevNull)
	require.ErrorContains(t, err, "no regular file")

	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err = link.ReadSecret("a.password_file", pipe)
	require.ErrorContains(t, err, "no regular file")

	_, err = link.ReadSecret("a.password_file", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n")
	require.ErrorContains(t, err, "a.password_file: it names a file, and holds the text of one")
	require.NotContains(t, err.Error(), "canary")

	require.Nil(t, link.From("k", "", "f", ""))
	value, err := link.From("k", "from env\n", "f", "")()
	require.NoError(t, err)
	require.Equal(t, "from env", value)
	require.ErrorContains(t, link.CheckSecret("k", "a\nb", "f", ""), "k: 2 lines")
	require.ErrorContains(t, link.CheckSecret("k", "a", "f", "file"), "f: k is set too")
}

// Kubernetes replaces a secret by a link that it swaps, and others write in place within one tick
// of the file system's clock, at the same size.
func TestSecretIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	for _, generation := range []string{"1", "2"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, generation), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, generation, "password"), []byte("secret-"+generation), 0o600))
	}
	at := filepath.Join(dir, "..data")
	require.NoError(t, os.Symlink("1", at))
	read := link.From("", "", "password_file", filepath.Join(at, "password"))
	got, err := read()
	require.NoError(t, err)
	require.Equal(t, "secret-1", got)

	require.NoError(t, os.Symlink("2", at+"_tmp"))
	require.NoError(t, os.Rename(at+"_tmp", at))
	got, err = read()
	require.NoError(t, err)
	require.Equal(t, "secret-2", got)

	file := filepath.Join(at, "password")
	before, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("secret-3"), 0o600))
	require.NoError(t, os.Chtimes(file, before.ModTime(), before.ModTime()))
	got, err = read()
	require.NoError(t, err)
	require.Equal(t, "secret-3", got)
}

func TestPlainTextIsWarnedOfOnce(t *testing.T) {
	var out bytes.Buffer
	log := zerolog.New(&out)
	link.WarnPlainText(log, t.Name(), "kafka.tls.enabled", false, "127.0.0.1:9092", "[::1]:9092", "localhost:9092", "a.localhost.:1", "[::ffff:127.0.0.1]:1", "127.8.0.1")
	require.Empty(t, out.String())
	for range 3 {
		link.WarnPlainText(log, t.Name(), "kafka.tls.enabled", true, "localhost:9092", "kafka.example:9092", "10.0.0.1:9092")
	}
	require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("\n")), out.String())
	require.Contains(t, out.String(), `"address":"kafka.example:9092"`)
	require.Contains(t, out.String(), "the password or token travels in plain text")
	for _, far := range []string{"localhost.example:1", "[2001:db8::1]:9092", "128.0.0.1:1", "0.0.0.0:1"} {
		require.False(t, link.IsLoopback(far), far)
	}
}

// While files are replaced they may be empty, half written, gone, or a certificate beside another's key:
// what they held before is in force for some seconds, and then it is an error.
func TestFilesThatAreBeingReplaced(t *testing.T) {
	dir := t.TempDir()
	ca := linktest.NewAuthority(t, "authority")
	caFile, passwordFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	synctest.Test(t, func(t *testing.T) {
		linktest.Write(t, caFile, ca.PEM)
		linktest.Write(t, passwordFile, []byte("first"))
		certFile, keyFile := ca.Sign(t, linktest.For("client")).Files(t, dir, "client")
		dialer := link.TLS{CAFile: caFile, CertFile: certFile, KeyFile: keyFile}.Dialer("a.tls")
		password := link.From("a.password", "", "a.password_file", passwordFile)
		next := ca.Sign(t, linktest.For("client"))
		whole := func() {
			linktest.Write(t, caFile, ca.PEM)
			linktest.Write(t, passwordFile, []byte("second"))
			linktest.Write(t, certFile, next.PEM)
			linktest.Write(t, keyFile, next.KeyPEM(t))
		}
		for _, amid := range []func(){
			func() { linktest.Write(t, caFile) },
			func() { linktest.Write(t, caFile, ca.PEM[:len(ca.PEM)/2]) },
			func() { require.NoError(t, os.Remove(caFile)) },
			func() { linktest.Write(t, certFile) },
			func() { linktest.Write(t, certFile, ca.Sign(t, linktest.For("client")).PEM) },
			func() { require.NoError(t, os.Remove(keyFile)) },
		} {
			require.NoError(t, dialer.Check())
			amid()
			require.NoError(t, dialer.Check())
			time.Sleep(9 * time.Second)
			require.NoError(t, dialer.Check())
			time.Sleep(time.Second)
			require.ErrorContains(t, dialer.Check(), "a.tls.")
			require.Error(t, dialer.Check())
			whole()
		}
		got, err := password()
		require.NoError(t, err)
		require.Equal(t, "second", got)
		linktest.Write(t, passwordFile)
		got, err = password()
		require.NoError(t, err)
		require.Equal(t, "second", got)
		time.Sleep(10 * time.Second)
		_, err = password()
		require.ErrorContains(t, err, "a.password_file: "+passwordFile+": empty")
		require.NoError(t, os.Remove(passwordFile))
		_, err = link.From("a.password", "", "a.password_file", passwordFile)()
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}
