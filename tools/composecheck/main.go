// Command composecheck loads a compose file with the compose specification's
// own Go module and fails on whatever that refuses: wrong keys, unknown
// services in depends_on, volumes and networks that nobody declares. Exit
// code: 0 the file is valid, 1 it is not, 2 wrong usage.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: composecheck docker-compose.yml")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func check(file string) error {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithName("pantau"))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	for name, service := range project.Services {
		if service.HealthCheck == nil {
			return fmt.Errorf("service %s has no health check", name)
		}
	}
	return nil
}
