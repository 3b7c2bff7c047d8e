from skelssl.cli.app import main

main()
