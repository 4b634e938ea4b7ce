"""The words that tell what a prompt is about and which language it is in. Values only.

A stem matches every word that begins with it; a sign matches anywhere, for scripts that put no spaces between words.
Five characters of a stem are enough to tell the meanings apart that matter here. Decides nothing.
"""

# ruff: noqa: RUF001, SIM905 - letters of many languages, and lists of words that read best as words
from typing import Final

TASKS: Final = ("chat", "code", "math", "reasoning")
CHAT, CODE, MATH, REASONING = TASKS

WORDS: Final = {
    CODE: frozenset(
        "list lists range line index cache undo component components code python javascript typescript java "
        "rust golang kotlin swift php ruby sql sqlite postgres postgresql mysql html css bash shell regex "
        "regexp json yaml xml csv api rest graphql http docker dockerfile kubernetes git github linux react "
        "vue angular django flask fastapi pandas numpy pytorch bug bugs debug debugging stacktrace traceback "
        "exception exceptions compile compiler segfault async await asyncio thread threads mutex deadlock "
        "array arrays hashmap dict linked pointer pointers class classes method methods refactor refactoring "
        "unittest pytest jest endpoint endpoints backend frontend npm pip cargo webpack cpp csharp query "
        "queries schema recursion recursive iterator generator decorator lambda closure struct enum typedef "
        "nullpointerexception typeerror keyerror valueerror attributeerror importerror segmentation stdout "
        "stdin stderr cli semaphore port container pod kubectl localhost commit repo deploy variable "
        "variables loop folder files node borrow makefile cron crontab orm jwt oauth websocket websockets "
        "binary heap queue stack trie leetcode parser parse parses código código-fonte codice quellcode "
        "skript script scripts funktion funktionen fonction funzione función função klasse clase classe "
        "dataframe merge rebase branch tsql bigquery terraform ansible nginx redis код функция функцию "
        "функции скрипт питон запрос класс баг كود دالة برمجة بايثون سكربت استعلام".split()
    ),
    MATH: frozenset(
        "square root irrational cm km kg liters litres litros liter litri литров equation equations integral "
        "integrals derivative derivatives theorem lemma polynomial matrix matrices eigenvalue eigenvalues "
        "determinant vector vectors probability probabilities algebra geometry calculus trigonometry "
        "arithmetic logarithm logarithms factorial permutation permutations combinatorics modulo prime primes "
        "divisible triangle hypotenuse circumference radius perimeter quadratic cubic limit converge "
        "converges convergence variance median percent percentage interest sum sine cosine tangent fraction "
        "fractions integer integers solve simplify factorise factorize differentiate integrate compute "
        "calculate evaluate prove math maths mathematics area volume decimal ways series interval continuous "
        "function's yearly compounded sqrt squared cubed average remainder gcd lcm dice coin gleichung "
        "gleichungen ableitung wahrscheinlichkeit beweise berechne dreieck rechteck fläche prozent zinsen "
        "löse primzahl summe équation dérivée intégrale probabilité calcule calculer résous résoudre démontre "
        "pourcentage aire somme ecuación derivada probabilidad calcula calcular resuelve resolver demuestra "
        "triángulo porcentaje área suma equazione derivata integrale probabilità calcola risolvi dimostra "
        "triangolo percentuale somma equação probabilidade resolva triângulo porcentagem juros soma уравнение "
        "уравнения интеграл производную производная вероятность вычисли вычислите докажи докажите реши решите "
        "треугольника треугольник процентов сумма معادلة المعادلة احسب تكامل مشتقة احتمال مثلث برهن".split()
    ),
    REASONING: frozenset(
        "guards doors reasoning logic logical logically puzzle riddle deduce deduction infer inference "
        "paradox dilemma fallacy tradeoff tradeoffs argue argument arguments premise premises conclusion "
        "contradiction hypothesis hypotheses causes implications strategy strategic weigh evaluate assess "
        "critique justify analyse analyze analysis compare comparison plan planning prioritize optimal decide "
        "decision constraints liar truth knights knaves lies lying reason explanation assumption assumptions "
        "recommendation suspects alibi detective counterfactual ethics ethical scenario scenarios pros cons "
        "consequences begründe rätsel logik vergleiche abwägen vorteile nachteile entscheide analysiere "
        "schlussfolgerung raisonnement énigme logique avantages inconvénients justifie conclure razona "
        "razonamiento acertijo lógica compara ventajas desventajas analiza justifica ragionamento indovinello "
        "logica confronta vantaggi svantaggi analizza giustifica raciocínio enigma vantagens desvantagens "
        "analise justifique логика логическая загадка сравни сравните преимущества недостатки проанализируй "
        "обоснуй рассуждай لغز منطق قارن حلل استنتج مزايا عيوب".split()
    ),
    CHAT: frozenset(
        "hi hello hey thanks please poem story joke email letter recipe translate translation summarize "
        "summarise summary rewrite rephrase recommend suggestion suggestions birthday holiday travel trip "
        "movie film song lyrics slogan tweet blog essay cover biography tell favourite favorite weather "
        "capital advice invitation toast hallo danke gedicht geschichte witz brief rezept übersetze "
        "zusammenfassung empfiehl geburtstag reise bonjour merci poème histoire blague lettre recette traduis "
        "résume recommande anniversaire voyage hola gracias poema cuento chiste carta receta traduce resume "
        "recomienda cumpleaños viaje ciao grazie poesia storia barzelletta lettera ricetta traduci riassumi "
        "consiglia compleanno viaggio olá obrigado obrigada piada traduza resuma aniversário viagem привет "
        "спасибо стихотворение рассказ шутку письмо рецепт переведи посоветуй поездка مرحبا شكرا قصيدة قصة "
        "نكتة رسالة وصفة ترجم لخص رحلة".split()
    ),
}
"""Whole words, lower case."""

WEAK: Final = frozenset(
    "classe list lists range line index cache undo component components square root cm km kg liters "
    "litres litros liter litri литров guards doors class classes clase klasse method methods array arrays "
    "rest shell swift rust ruby java react angular query queries heap queue stack merge branch commit "
    "port container pod files folder loop borrow script scripts skript thread threads pointer linked "
    "binary variable variables deploy lambda closure pip cargo cli schema struct generator api average "
    "limit sum interest fraction fractions coin dice prime primes vector area volume ways series interval "
    "percent percentage evaluate compute solve remainder cubic convergence median nombre decimal yearly "
    "soma summe somme suma somma сумма radius continuous plan planning decide decision argument arguments "
    "strategy truth lies lying reason scenario scenarios explanations explanation recommendation optimal "
    "consequences causes assess pros cons detective".split()
)
"""Of the words those that mean something else as often: two of them say as much as one of the others."""

STEMS: Final = {
    CODE: frozenset(
        "funct algor progr compi imple debug refac async serve deplo datab endpo middl packa libra varia "
        "instan depen repos kuber docke funkt fonct datei codig függ софт прогр скрип функц алгор базы برنام".split()
    ),
    MATH: frozenset(
        "equat deriv integ proba theor polyn matri eigen algeb geome trigo divis multi subtr logar gleic "
        "ableit wahrs berec beweis équat calcu ecuac risol resol triâng уравн интег произ вероя вычис докаж "
        "процен треуг معادل احتما".split()
    ),
    REASONING: frozenset(
        "deduc infer reaso logic analy contr hypot impli causa plaus justi ratio begrü schlus raiso analiz "
        "ragio racio логич рассу обосн аргум причи сравн استنت".split()
    ),
    CHAT: frozenset("summa trans recom sugge congr invit überse zusam tradu перев посов поздр расск".split()),
}
"""The first five letters of words, lower case. Shorter ones are whole words."""

SIGNS: Final = {
    CODE: (
        "代码|程序|编程|函数|脚本|数据库|接口|算法|调试|报错|正则|变量|编译|爬虫|前端|后端|查询语句|"
        "コード|プログラム|関数|スクリプト|データベース|アルゴリズム|デバッグ|実装|正規表現|変数|クラス|エラー|"
        "코드|프로그램|함수|스크립트|데이터베이스|알고리즘|디버깅|구현|정규식|변수|쿼리|클래스|에러"
    ),
    MATH: (
        "方程|积分|导数|概率|证明|计算|求解|三角形|矩阵|多项式|百分|质数|面积|余数|多少个|多少元|"
        "方程式|積分|微分|確率|証明|計算|三角形|行列|素数|面積|求めよ|求めて|解いて|何個|パーセント|"
        "방정식|적분|미분|확률|증명|계산|삼각형|행렬|소수|넓이|구하시오|구하세요|풀어|몇 개|퍼센트"
    ),
    REASONING: (
        "推理|逻辑|谜题|分析|比较|权衡|利弊|优缺点|推断|谁在说谎|一步一步|论证|假设|"
        "推理|論理|謎|なぞなぞ|分析|比較|利点|欠点|理由を|嘘つき|段階的に|推論|"
        "추론|논리|수수께끼|분석|비교|장단점|거짓말|단계별로|이유를"
    ),
    CHAT: (
        "你好|谢谢|写一首|故事|笑话|翻译|总结|推荐|邮件|旅行|生日|菜谱|祝福|"
        "こんにちは|ありがとう|詩|物語|冗談|翻訳|要約|おすすめ|メール|旅行|誕生日|レシピ|"
        "안녕|감사|시를|이야기|농담|번역|요약|추천|이메일|여행|생일|레시피"
    ),
}
"""Chinese, Japanese and Korean, as alternatives of a regular expression."""

PHRASES: Final = {
    CODE: (*("stack trace", "unit test", "code review", "pull request", "time complexity", "big o", "null pointer"),),
    MATH: (
        *("how many", "how much", "what is the value", "find all", "per hour", "km/h", "word problem"),
        *("wie viele", "wie viel", "combien", "cuántos", "cuántas", "quanti ", "quante ", "quantos", "quantas"),
        *("сколько", "كم عدد"),
    ),
    REASONING: (
        *("step by step", "think through", "trade-off", "what if", "which is better", "pros and cons", "root cause"),
        *("who is lying", "what follows", "must be true", "schritt für schritt", "vor- und", "étape par étape"),
        *("paso a paso", "por qué", "passo dopo passo", "passo a passo", "por que ", "шаг за шагом", "خطوة بخطوة"),
    ),
    CHAT: (
        *("write a ", "how are you", "tell me", "good morning", "wie geht", "schreibe ein", "ça va", "écris un"),
        *("cómo estás", "escribe un", "come stai", "scrivi un", "tudo bem", "escreva um", "как дела", "напиши "),
        *("كيف حالك", "اكتب لي"),
    ),
}
"""Several words, lower case, wherever they stand."""

STOP_WORDS: Final = {
    "en": frozenset(
        "the of and to is in that it for you with are this my be have from how what can an was who do does "
        "did some there not at by or when where which would could into your we our me if on".split()
    ),
    "de": frozenset(
        "der die das und ist nicht ich ein was kann kannst du wie wir oder nach im beim aus sein ihr diesen "
        "eine zu mit den von auf für dass dem es mir bitte".split()
    ),
    "fr": frozenset(
        "le la les des et est un une du que pour dans je vous pas sur avec moi au qui ce quel mon quelle peux "
        "combien font ou".split()
    ),
    "es": frozenset(
        "el la los las y es un una que para con por cómo qué mi del en se lo al me tengo cuál cuántos sobre "
        "haz hola".split()
    ),
    "it": frozenset(
        "il lo la gli che è di un una per con non come mi della sono nel del più questo cosa ho da ciao "
        "quanto alla".split()
    ),
    "pt": frozenset(
        "o os as um uma que é para com não como em do da no na meu por você qual dos me eu à seu quanto mais".split()
    ),
}
"""Languages of Latin script by the words that every text of them has."""

LETTERS: Final = {
    "de": frozenset("äöüß"),
    "fr": frozenset("çœùêîôûë"),
    "es": frozenset("ñ¿¡"),
    "it": frozenset("ìòù"),
    "pt": frozenset("ãõ"),
}
"""Letters that hint at a language of Latin script."""
