#!/bin/sh
# Makes what the services of docker-compose.yml share, once: a certificate for the databases, signed by an authority that
# nobody else uses, and the key that messages between the roles are signed with.
#
#   secrets.sh FOLDER NAME...   the names of the machines that the certificate is for
set -eu
umask 077
cd "$1"
shift
if [ -e done ]; then exit; fi

# The user of ratebus, and that of the database images.
ratebus=10001
database=999

openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=ratebus databases" \
    -addext "keyUsage=critical,keyCertSign" -keyout authority.key -out ca.pem
names=$(printf ',DNS:%s' "$@")
printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "${names#,}" >extensions
openssl req -newkey rsa:3072 -nodes -subj "/CN=$1" -keyout server.key -out request.pem
openssl x509 -req -in request.pem -CA ca.pem -CAkey authority.key -CAcreateserial -days 3650 -extfile extensions -out server.pem
openssl rand -hex 32 >bus.key
# Nobody can sign another certificate with this authority.
rm authority.key request.pem extensions ./*.srl

chmod 755 .
chmod 644 ca.pem server.pem
chown "$database:$database" server.key
chown "$ratebus:$ratebus" bus.key
touch done
