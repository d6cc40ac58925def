// Command ltxgo writes, reads and merges LTX files with the Go implementation,
// so that the Rust one can be compared with it. Content goes in and out as
// lines of text:
//
//	header FLAGS PAGESIZE COMMIT MIN MAX TIMESTAMP PRE WALOFFSET WALSIZE SALT1 SALT2 NODE
//	page PGNO HEX
//	post CHECKSUM
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/superfly/ltx"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: ltxgo write OUT < TEXT | dump FILE | merge OUT IN...")
		os.Exit(2)
	}
	var err error
	switch verb, path := os.Args[1], os.Args[2]; verb {
	case "write":
		err = write(path, os.Stdin)
	case "dump":
		err = dump(path, os.Stdout)
	case "merge":
		err = merge(path, os.Args[3:])
	default:
		err = fmt.Errorf("unknown verb %q", verb)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(path string, text io.Reader) error {
	var out bytes.Buffer
	enc, err := ltx.NewEncoder(&out)
	if err != nil {
		return err
	}
	lines := bufio.NewReader(text)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "header":
			h := ltx.Header{Version: ltx.Version}
			if _, err := fmt.Sscan(rest, &h.Flags, &h.PageSize, &h.Commit, &h.MinTXID, &h.MaxTXID, &h.Timestamp,
				&h.PreApplyChecksum, &h.WALOffset, &h.WALSize, &h.WALSalt1, &h.WALSalt2, &h.NodeID); err != nil {
				return err
			}
			err = enc.EncodeHeader(h)
		case "page":
			var pgno uint32
			var digits string
			if _, err := fmt.Sscan(rest, &pgno, &digits); err != nil {
				return err
			}
			data, err := hex.DecodeString(digits)
			if err != nil {
				return err
			}
			if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, data); err != nil {
				return err
			}
		case "post":
			var post ltx.Checksum
			if _, err := fmt.Sscan(rest, &post); err != nil {
				return err
			}
			enc.SetPostApplyChecksum(post)
		default:
			return fmt.Errorf("unknown line %q", verb)
		}
		if err != nil {
			return err
		}
	}
	if err := enc.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func dump(path string, out io.Writer) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rest := bytes.NewReader(file)
	dec := ltx.NewDecoder(rest)
	if err := dec.DecodeHeader(); err != nil {
		return err
	}
	text := bufio.NewWriter(out)
	h := dec.Header()
	fmt.Fprintln(text, "header", h.Flags, h.PageSize, h.Commit, uint64(h.MinTXID), uint64(h.MaxTXID), h.Timestamp,
		uint64(h.PreApplyChecksum), h.WALOffset, h.WALSize, h.WALSalt1, h.WALSalt2, h.NodeID)
	data := make([]byte, h.PageSize)
	var pages []uint32
	for {
		var page ltx.PageHeader
		err := dec.DecodePage(&page, data)
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		pages = append(pages, page.Pgno)
		fmt.Fprintln(text, "page", page.Pgno, hex.EncodeToString(data))
	}
	if err := dec.Close(); err != nil {
		return err
	}
	fmt.Fprintln(text, "post", uint64(dec.Trailer().PostApplyChecksum))

	// The index must lead to each page.
	index := dec.PageIndex()
	if len(index) != len(pages) {
		return errors.New("the index has not one entry for each page")
	}
	for _, pgno := range pages {
		at := index[pgno]
		page, _, err := ltx.DecodePageData(file[at.Offset : at.Offset+at.Size])
		if err != nil {
			return err
		} else if page.Pgno != pgno {
			return fmt.Errorf("the index leads from page %d to page %d", pgno, page.Pgno)
		}
	}
	return text.Flush()
}

func merge(path string, inputs []string) error {
	var readers []io.Reader
	for _, input := range inputs {
		file, err := os.Open(input)
		if err != nil {
			return err
		}
		defer file.Close()
		readers = append(readers, bufio.NewReader(file))
	}
	var out bytes.Buffer
	compactor, err := ltx.NewCompactor(&out, readers)
	if err != nil {
		return err
	}
	// As Litestream does.
	compactor.HeaderFlags = ltx.HeaderFlagNoChecksum
	if err := compactor.Compact(context.Background()); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
