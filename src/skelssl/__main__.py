from skelssl.entry import main

main()
