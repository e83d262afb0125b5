package link

import (
	"fmt"
	"io"
)

// Hidden is what is shown instead of a secret.
const Hidden = "[hidden]"

// Secret is a secret as a configuration has it. It is never shown: fmt, JSON, YAML and loggers
// write Hidden, or nothing where there is none. string(s) is the secret; where it is used, From
// gives it.
type Secret string

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Hidden
}

// Format implements fmt.Formatter: every verb, %#v too, writes what String returns.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler, by which JSON and YAML write it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Source gives the secret that is in force now. A file is read anew each time; while it cannot be
// read, which may be as it is being replaced, what it held last is in force for some seconds. The
// error names the key, and never holds the secret. It is safe for concurrent use.
type Source func() (string, error)

// From returns the source of a secret that stands in the configuration, or in a file where file
// is set. key and fileKey are the names of the two, for errors. It is nil where neither is set.
func From(key string, value Secret, fileKey, file string) Source {
	switch {
	case file != "":
		held := &swapped[string]{}
		return func() (string, error) { return held.now(ReadSecret(fileKey, file)) }
	case value != "":
		return func() (string, error) {
			secret, err := clean(string(value))
			if err != nil {
				return "", fmt.Errorf("%s: %w", key, err)
			}
			return secret, nil
		}
	}
	return nil
}

// ReadSecret returns the secret that stands in a file now. The error begins with the key that
// names the file; errors.Is sees fs.ErrNotExist.
func ReadSecret(key, path string) (string, error) {
	text, err := readFile(key, path, maxSecretBytes)
	if err != nil {
		return "", err
	}
	secret, err := clean(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", key, path, err)
	}
	return secret, nil
}

// CheckSecret reports what is wrong with a secret that may stand in the configuration or in a
// file. The file is not read.
func CheckSecret(key string, value Secret, fileKey, file string) error {
	if value != "" && file != "" {
		return fmt.Errorf("%s: %s is set too: keep one of them", fileKey, key)
	}
	if value != "" {
		_, err := From(key, value, "", "")()
		return err
	}
	return nil
}
