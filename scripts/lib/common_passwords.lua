-- SPDX-License-Identifier: Apache-2.0
-- The most used passwords, lower case, and bare words that decoration with digits does not save.
local set = {}
for word in ([[
  password password1 password12 password123 password1234 passw0rd p@ssw0rd p@ssword 12345678 123456789
  1234567890 0123456789 12345678910 123123123 1234512345 123456781 87654321 987654321 9876543210 0987654321
  11111111 111111111 1111111111 22222222 33333333 44444444 55555555 66666666 77777777 88888888 99999999
  00000000 000000000 0000000000 12341234 11223344 1122334455 112233445566 123321123 12344321 123454321
  13131313 12121212 10101010 69696969 12qwaszx 1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qaz2wsx3edc
  1qazxsw2 q1w2e3r4 q1w2e3r4t5 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345 qwerty1
  qwertyqwerty 123qweasd 123qwe123 123qweasdzxc qweasdzxc qweasd123 qazwsxedc qazwsx123 qwer1234 1234qwer
  asdfghjk asdfghjkl asdf1234 asdfasdf asdasdasd zxcvbnm1 zxcvbnm123 zxcvzxcv zaq12wsx zaq1zaq1 zaqwsxcde
  abcd1234 abcdefgh abcdefg1 abcdefghi abc12345 abc123456 a1234567 a12345678 a123456789 aa123456 aa12345678
  aaaaaaaa 1234abcd iloveyou iloveyou1 iloveyou2 ilovegod letmein1 letmein123 welcome1 welcome123 welcome12
  football football1 baseball baseball1 basketball princess princess1 sunshine sunshine1 superman superman1
  starwars michelle jennifer jessica1 michael1 charlie1 computer internet samsung1 trustno1 whatever
  dragon123 monkey123 master123 shadow123 corvette mercedes midnight password2 passpass pass1234 pass12345
  passwort passwort1 contrasena motdepasse azertyuiop azerty123 senha123 parola123 kata-sandi katasandi
  sayangku sayang123 indonesia indonesia1 bismillah bismillah1 rahasia123 anjing123 bangsat123 admin123
  admin1234 admin12345 admin123456 administrator adminadmin root1234 rootroot toor1234 changeme changeme1
  changeme123 changeme123! default1 guest123 test1234 test12345 testtest testing1 testing123 demo1234
  demodemo user1234 username login123 secret123 secret12 mysecret temp1234 temporary hello123 hello1234
  helloworld hunter22 superuser1 batman123 pokemon1 pokemon123 minecraft google123 facebook facebook1
  instagram whatsapp1 linkedin youtube1 twitter1 liverpool liverpool1 chelsea1 arsenal1 barcelona
  manchester juventus1 realmadrid cristiano ronaldo7 blink182 metallica slipknot nirvana1 greenday
  eminem123 tinkerbell butterfly chocolate elephant swordfish snowball cocacola alexander christian
  nicholas veronica victoria elizabeth stephanie benjamin danielle jonathan patricia caroline anthony1
  matthew1 thomas123 daniel123 andrew123 robert123 jordan23 yankees1 cowboys1 steelers lakers24 patriots
  redskins mustang1 ferrari1 porsche1 harley01 maverick phoenix1 hurricane thunder1 lightning firebird
  silver12 gateway1 asdfjkl; iamthebest lovelove loveyou1 forever1 babygirl babygirl1 sweetheart beautiful
  happy123 lucky777 freedom1 blessed1 jesus123 jesuschrist godisgood password! password@123 p@ssw0rd1
  p@$$w0rd passw0rd1 passw0rd123 letmeinnow openseasame opensesame trustnoone monitor1 abc123abc 147258369
  741852963 789456123 159753456 147852369 963852741 321654987 456789123 123654789 789456123a 1a2b3c4d
  1a2b3c4d5e a1b2c3d4 a1b2c3d4e5 q1q1q1q1 qqqqqqqq zzzzzzzz xxxxxxxx ssssssss dddddddd qwerasdf qwertzui
  qwertzuiop 1q1q1q1q 2wsx3edc !qaz2wsx !qaz1qaz 1234567a 12345678a 123456789a 123456789q 1234567q
  12345qwert 123456qwerty correcthorsebatterystaple summer2023 summer2024 winter2023 winter2024 spring2024
  autumn2024 company1 business superstar rockstar1 princesa mariposa estrella teamo123 tequiero futbol123
  123456abc abcd12345 killer123 fuckyou1 fuckyou123 asshole1 trustno12 qwe123qwe 1qaz1qaz 11112222 12345679
  password01 password11 password99 qwerty letmein welcome admin dragon monkey batman secret master test
  guest default login hello
]]):gmatch("%S+") do set[word] = true end
return set
