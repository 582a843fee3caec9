#!/usr/bin/env bash
# Logs in (and registers before, with an address that is new), follows the live quotes of BTC_USD, and, as an
# administrator, sets a spread, sees it arrive and takes it back.
#
#   RATEBUS_EMAIL=you@example.com RATEBUS_PASSWORD=… examples/curl.sh
#   examples/curl.sh URL EMAIL PASSWORD
set -euo pipefail

url=${1:-${RATEBUS_URL:-http://localhost:3334}}
email=${2:-${RATEBUS_EMAIL:?your e-mail address}}
password=${3:-${RATEBUS_PASSWORD:?your password}}
token=

# METHOD PATH [JSON]: prints the answer's body, and its status on a line of its own.
call() {
    # Through files and not as arguments, which everybody on this machine can read.
    curl --silent --show-error --max-time 10 --request "$1" "$url$2" --write-out '\n%{http_code}\n' \
        --header 'content-type: application/json' --header @<(printf 'authorization: Bearer %s' "$token") \
        ${3:+--data-binary @-} <<<"${3-}"
}

# The same, of a request that must work: prints the body.
must() {
    local answer
    answer=$(call "$@")
    if [[ $answer != *$'\n'2?? ]]; then
        echo "$1 $2: $answer" >&2
        return 1
    fi
    printf '%s' "${answer%$'\n'*}"
}

quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# The last member of this name in standard input: good enough for these answers, and no JSON parser.
member() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

credentials="\"email\":$(quoted "$email"),\"password\":$(quoted "$password")"
answer=$(call POST /login "{$credentials}")
if [[ $answer == *$'\n'401 ]]; then
    echo "No such account, or another password: registering"
    must POST /register "{$credentials,\"confirmPassword\":$(quoted "$password"),\"firstName\":\"An\",\"lastName\":\"Example\"}" >/dev/null
fi
token=$(must POST /login "{$credentials}" | member token)
role=$(must GET /v1/me | member role)
echo "Logged in as $email, role $role"

echo "Three events of the stream:"
exec {events}< <(exec curl --silent --show-error --fail --no-buffer --max-time 30 "$url/v1/rates/stream?pairs=BTC_USD")
stream=$!
trap 'kill "$stream" 2>/dev/null || true' EXIT
next() {
    while read -r line <&"$events"; do
        if [[ $line == data:* ]]; then
            echo "${line#data: }"
            return
        fi
    done
    echo "The stream ended, or 30 s have passed" >&2
    return 1
}
next
next
next

if [[ $role != admin ]]; then
    echo "Spreads are for administrators; 'ratebus admin promote --email $email' makes one"
    exit
fi

before=$(call GET /v1/spreads/BTC_USD)
if [[ $before != *$'\n'@(200|404) ]]; then
    echo "GET /v1/spreads/BTC_USD: $before" >&2
    exit 1
fi
take_back() {
    kill "$stream" 2>/dev/null || true
    if [[ $before == *$'\n'404 ]]; then
        must DELETE /v1/spreads/BTC_USD >/dev/null
        echo "Removed it again"
    else
        must POST /v1/spreads/BTC_USD/rollback "{\"revision\":$(head -n 1 <<<"$before" | member revision)}" >/dev/null
        echo "The spread is what it was"
    fi
}
markup='{"unit":"bps","value":"25"}'
spread=$(must PUT /v1/spreads/BTC_USD "{\"buy\":$markup,\"sell\":$markup,\"reason\":\"examples/curl.sh\"}")
trap take_back EXIT
revision=$(member revision <<<"$spread")
echo "Set 25 basis points on each side, revision $revision; the first quote with it:"
quote=
until [[ $quote == *"\"revision\":$revision"[,}]* ]]; do
    quote=$(next)
done
echo "$quote"
